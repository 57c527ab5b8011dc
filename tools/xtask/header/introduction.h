/*
 * bnn.h: run binary neural networks from C and C++. Version @VERSION@.
 *
 * A trained network is converted once, by the tool bnn-convert, to a .bnn file. This library loads such
 * files and runs them on the CPU. To classify a picture takes four calls:
 *
 *     bnn_model *model;
 *     bnn_session *session;
 *     bnn_prediction best;
 *     size_t count;
 *
 *     if (bnn_model_open("network.bnn", &model) != BNN_STATUS_OK ||
 *         bnn_session_new(model, NULL, &session) != BNN_STATUS_OK ||
 *         bnn_session_classify_file(session, "cat.jpg", &best, 1, &count) != BNN_STATUS_OK) {
 *         fprintf(stderr, "%s\n", bnn_last_error_message());
 *         exit(1);
 *     }
 *     printf("%s\n", best.label != NULL ? best.label : "(no name)");
 *     bnn_session_free(session);
 *     bnn_model_free(model);
 *
 * Compile with: cc example.c $(pkg-config --cflags --libs bnn)
 *
 * The sections of this file go from simple to advanced: version and errors, models, sessions,
 * classifying pictures, running tensors.
 *
 * Ownership
 *     A function whose name ends in _open, _new or _from_memory makes an object and gives it to the caller,
 *     who frees it with the _free function of its type. Every _free function takes NULL. A session keeps
 *     what it needs of its model, which may be freed first. All other memory belongs to who made it: the
 *     library keeps no pointer of the caller's after a call, and what it returns pointers to (names, shapes,
 *     labels) lives as long as the object that was asked. Do not free or change it.
 *
 * Threads
 *     Any number of threads may use a bnn_model at once. A bnn_session does one call at a time, on any thread:
 *     if two threads call at once, the later one gets BNN_STATUS_BUSY and nothing else happens, so make one
 *     session for each thread; sessions share the weights of their model. An object may be freed while a call
 *     that was given it is under way in another thread, but no call may begin afterwards. A session with more
 *     than one thread does not survive fork(): make it in the child. Results are the same to the bit with any
 *     number of threads.
 *
 * Errors
 *     Functions that can fail return a bnn_status, and bnn_last_error_message() says in one line what was
 *     wrong. NULL, wrong lengths, broken files and numbers out of range are answered with a status; so is a
 *     bug inside the library (BNN_STATUS_INTERNAL): no C++ exception, Rust panic or abort comes out of it.
 *     What is left to the caller: pointers must point to as much memory as is said, texts end with a zero, and
 *     an object that has been freed is not used again.
 *
 * Versions
 *     BNN_VERSION is the version of this header, bnn_version() that of the library that runs. The library's
 *     ABI number (libbnn.so.@ABI@) changes when a program has to be compiled anew; within one number functions,
 *     values of enumerations and fields at the end of bnn_session_options are added and nothing is changed.
 *
 * The floating-point settings of the calling thread (rounding, flush-to-zero) neither disturb the results nor
 * are changed by a call.
 *
 * Written by `cargo xtask header` from src/capi: change the comments there.
 */
