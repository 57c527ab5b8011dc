/*
 * bnn.h: run binary neural networks from C and C++. Version 0.1.0.
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
 *     ABI number (libbnn.so.0) changes when a program has to be compiled anew; within one number functions,
 *     values of enumerations and fields at the end of bnn_session_options are added and nothing is changed.
 *
 * The floating-point settings of the calling thread (rounding, flush-to-zero) neither disturb the results nor
 * are changed by a call.
 *
 * Written by `cargo xtask header` from src/capi: change the comments there.
 */

#ifndef BNN_H
#define BNN_H

#include <stddef.h>
#include <stdint.h>

#define BNN_VERSION_MAJOR 0
#define BNN_VERSION_MINOR 1
#define BNN_VERSION_PATCH 0
#define BNN_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * ---- Version and errors ------------------------------------------------------------------------
 *
 * Functions that can fail return a bnn_status. What exactly was wrong is told in one line by
 * bnn_last_error_message().
 */

/**
 * Outcome of a call. The numbers never change; later versions may add some, so treat every value other
 * than BNN_STATUS_OK as a failure.
 */
typedef enum {
    /** Done. */
    BNN_STATUS_OK = 0,
    /** A pointer is NULL or misaligned, buffers overlap, a value is out of range or a text not UTF-8. */
    BNN_STATUS_INVALID_ARGUMENT = 1,
    /** A buffer has another length than the batch needs, or there are too few or too many of them. */
    BNN_STATUS_WRONG_LENGTH = 2,
    /** An input holds an infinity or a NaN. */
    BNN_STATUS_NON_FINITE = 3,
    /** A file cannot be read. */
    BNN_STATUS_IO = 4,
    /** The model is broken: not a .bnn file, truncated, or changed. */
    BNN_STATUS_INVALID_MODEL = 5,
    /** The picture is broken, of an unknown kind, too large, or too small for the crop. */
    BNN_STATUS_INVALID_IMAGE = 6,
    /** The model, the processor or this version of the library cannot do what is asked. */
    BNN_STATUS_UNSUPPORTED = 7,
    /** Too little memory (or more would be needed than the session's limit), or no more threads. */
    BNN_STATUS_OUT_OF_RESOURCES = 8,
    /** The session is at work for another thread. */
    BNN_STATUS_BUSY = 9,
    /**
     * A bug in the library. The session that was used refuses all further work; other objects are not
     * affected.
     */
    BNN_STATUS_INTERNAL = 10,
} bnn_status;

/** The version of the library that runs, such as "1.2.3"; BNN_VERSION is that of the header. Never NULL. */
const char *bnn_version(void);

/**
 * The name of a status, such as "BNN_STATUS_IO"; "unknown status" for numbers that are none. Never
 * NULL.
 */
const char *bnn_status_name(int status);

/**
 * What was wrong in the last call of this thread that failed: one line of UTF-8 that names the file,
 * the tensor or the argument, what was found and what was expected. An empty text if none has failed.
 * Never NULL.
 *
 * The text stays until the next call that fails on this thread, or the end of the thread. Calls that
 * succeed do not change it.
 */
const char *bnn_last_error_message(void);

/*
 * ---- Models ------------------------------------------------------------------------------------
 *
 * A bnn_model is a network read from a .bnn file: what goes in, what comes out, what the classes are
 * called. It never changes; any number of threads may use it at once.
 */

/** Order of the channels of a pixel. */
typedef enum {
    /** Red, green, blue. */
    BNN_CHANNEL_ORDER_RGB = 0,
    /** Blue, green, red. */
    BNN_CHANNEL_ORDER_BGR = 1,
    /** One channel: luminance. */
    BNN_CHANNEL_ORDER_GRAY = 2,
} bnn_channel_order;

/** A network, ready to make sessions of. */
typedef struct bnn_model bnn_model;

/** An input or output of a network. What it points to belongs to the model. */
typedef struct {
    /** Its name in the original network, UTF-8. */
    const char *name;
    /**
     * The dimensions of one image (the batch is not among them), in the layout of the original
     * network: often channels, height, width.
     */
    const size_t *shape;
    /** Number of dimensions. */
    size_t rank;
    /** Number of values for one image: the product of the dimensions. */
    size_t elements;
} bnn_tensor;

/** The picture that a network takes, after resizing and cropping. */
typedef struct {
    /** Pixels in a row. */
    size_t width;
    /** Rows. */
    size_t height;
    /** Bytes of a pixel: 1 or 3. */
    size_t channels;
    /** Order of these bytes. */
    bnn_channel_order order;
} bnn_picture;

/**
 * Reads and checks a .bnn file. On Unix `path` may be any bytes, elsewhere it is UTF-8.
 *
 * `*model` becomes the model, or NULL on failure. Free it with bnn_model_free().
 */
bnn_status bnn_model_open(const char *path, bnn_model **model);

/**
 * Checks a .bnn file that is in memory, `length` bytes at `bytes`, which may lie at any address. They
 * are not needed after the call.
 *
 * `*model` becomes the model, or NULL on failure. Free it with bnn_model_free().
 */
bnn_status bnn_model_from_memory(const uint8_t *bytes,
                                 size_t length,
                                 bnn_model **model);

/** Frees a model; NULL is fine. Sessions that were made of it keep working. */
void bnn_model_free(bnn_model *model);

/** Number of classes that have names; 0 for NULL. */
size_t bnn_model_label_count(const bnn_model *model);

/** Name of a class, UTF-8; NULL if there is none. It belongs to the model. */
const char *bnn_model_label(const bnn_model *model, size_t index);

/** Number of inputs; 0 for NULL. */
size_t bnn_model_input_count(const bnn_model *model);

/** Number of outputs; 0 for NULL. */
size_t bnn_model_output_count(const bnn_model *model);

/** Describes an input, counted from 0. */
bnn_status bnn_model_input(const bnn_model *model, size_t index, bnn_tensor *tensor);

/** Describes an output, counted from 0. */
bnn_status bnn_model_output(const bnn_model *model, size_t index, bnn_tensor *tensor);

/**
 * Says which pixels bnn_session_run_pixels() takes. BNN_STATUS_UNSUPPORTED if the network takes no
 * pictures: the file says nothing about preprocessing, or the network has not one input and one output.
 */
bnn_status bnn_model_picture(const bnn_model *model,
                             bnn_picture *picture);

/*
 * ---- Sessions ----------------------------------------------------------------------------------
 *
 * A bnn_session is what one thread needs to run a model: its memory, and helping threads if it is given
 * any. Sessions of one model share its weights.
 */

/** A model at work: one call at a time. */
typedef struct bnn_session bnn_session;

/**
 * How a session is to run. Fill it with zeros (`bnn_session_options options = {0};`), set `size`
 * (`options.size = sizeof options;`), then what you want to be different (`options.threads = 4;`).
 */
typedef struct {
    /**
     * sizeof(bnn_session_options): it tells which version of the struct the caller knows. Later versions
     * may add fields at the end, for which zero means what is done today.
     */
    size_t size;
    /** Threads that work on one call; 0 and 1 mean the calling thread alone. At most 1024. */
    size_t threads;
    /**
     * Instruction set: "scalar", "v2", "avx2", "avx512", "avx512vpopcnt", ...; NULL: the fastest that the
     * processor has.
     */
    const char *isa;
    /**
     * Largest memory in bytes that the feature maps of one image may take, a guard against files that
     * ask for more than the machine has; 0: 4 GiB (1 GiB where addresses have 32 bits).
     */
    size_t memory_limit;
} bnn_session_options;

/**
 * Makes a session; `options` may be NULL. The first session of a model packs the weights for the
 * processor, the following ones share them.
 *
 * `*session` becomes the session, or NULL on failure. Free it with bnn_session_free(). The model may be
 * freed before.
 */
bnn_status bnn_session_new(const bnn_model *model,
                           const bnn_session_options *options,
                           bnn_session **session);

/** Frees a session; NULL is fine. A call that is under way in another thread ends as usual. */
void bnn_session_free(bnn_session *session);

/** The instruction set in use, such as "avx2"; NULL for NULL. The text belongs to the session. */
const char *bnn_session_isa(const bnn_session *session);

/** Threads that work on a call; 0 for NULL. */
size_t bnn_session_threads(const bnn_session *session);

/**
 * Bytes of working memory for an image on one thread, weights and the caller's buffers not counted;
 * 0 for NULL.
 */
size_t bnn_session_memory_bytes(const bnn_session *session);

/*
 * ---- Classifying pictures ----------------------------------------------------------------------
 *
 * Resizing, cropping and normalisation are done as the model file says. Answers are written to an array
 * of the caller, most probable class first.
 */

/** A class that a picture may belong to. */
typedef struct {
    /** Position of the class in the output of the network. */
    size_t index;
    /** Name of the class, UTF-8, or NULL. It lives as long as the model or any session of it. */
    const char *label;
    /** Probability, 0 to 1. */
    float probability;
} bnn_prediction;

/**
 * Classifies a picture file (PNG, JPEG, WebP, BMP or GIF) of any size. On Unix `path` may be any bytes,
 * elsewhere it is UTF-8.
 *
 * At most `capacity` predictions are written; `*count` says how many, 0 on failure.
 */
bnn_status bnn_session_classify_file(bnn_session *session,
                                     const char *path,
                                     bnn_prediction *predictions,
                                     size_t capacity,
                                     size_t *count);

/**
 * Classifies a picture file that is in memory, `length` bytes at `bytes`, as
 * bnn_session_classify_file() does.
 */
bnn_status bnn_session_classify_encoded(bnn_session *session,
                                        const uint8_t *bytes,
                                        size_t length,
                                        bnn_prediction *predictions,
                                        size_t capacity,
                                        size_t *count);

/**
 * Classifies a picture of any size given as pixels: rows from the top, each pixel three bytes red,
 * green, blue, without gaps, `length` = 3 * width * height bytes in all. Gray networks make it gray.
 */
bnn_status bnn_session_classify_pixels(bnn_session *session,
                                       const uint8_t *pixels,
                                       size_t length,
                                       uint32_t width,
                                       uint32_t height,
                                       bnn_prediction *predictions,
                                       size_t capacity,
                                       size_t *count);

/**
 * Ranks the output of a network for one image, as it came from bnn_session_run() and the like, `length`
 * values at `output`: the most probable classes and their probabilities.
 *
 * At most `capacity` predictions are written; `*count` says how many, 0 on failure.
 */
bnn_status bnn_model_rank(const bnn_model *model,
                          const float *output,
                          size_t length,
                          bnn_prediction *predictions,
                          size_t capacity,
                          size_t *count);

/*
 * ---- Finding objects ---------------------------------------------------------------------------
 *
 * Networks that find objects (docs/detection.md) answer with boxes, best first, in pixels of the picture as it
 * was given. Everything else is as for classes.
 */

/**
 * An object in a picture. Sides are counted in pixels from the left upper corner of the picture; a box may
 * reach beyond it.
 */
typedef struct {
    /** Position of the class among the labels. */
    size_t index;
    /** Name of the class, UTF-8, or NULL. It lives as long as the model or any session of it. */
    const char *label;
    /** Probability of the class, 0 to 1. */
    float score;
    /** Left side. */
    float xmin;
    /** Upper side. */
    float ymin;
    /** Right side. */
    float xmax;
    /** Lower side. */
    float ymax;
} bnn_detection;

/**
 * The most boxes that the network gives for a picture: room for so many is always enough. 0 if it finds
 * no objects, and for NULL.
 */
size_t bnn_model_box_count(const bnn_model *model);

/**
 * Finds the objects in a picture file (PNG, JPEG, WebP, BMP or GIF) of any size. On Unix `path` may be any
 * bytes, elsewhere it is UTF-8.
 *
 * At most `capacity` boxes are written; `*count` says how many, 0 on failure.
 */
bnn_status bnn_session_detect_file(bnn_session *session,
                                   const char *path,
                                   bnn_detection *detections,
                                   size_t capacity,
                                   size_t *count);

/**
 * Finds the objects in a picture file that is in memory, `length` bytes at `bytes`, as
 * bnn_session_detect_file() does.
 */
bnn_status bnn_session_detect_encoded(bnn_session *session,
                                      const uint8_t *bytes,
                                      size_t length,
                                      bnn_detection *detections,
                                      size_t capacity,
                                      size_t *count);

/** Finds the objects in a picture of any size given as pixels, as bnn_session_classify_pixels() takes them. */
bnn_status bnn_session_detect_pixels(bnn_session *session,
                                     const uint8_t *pixels,
                                     size_t length,
                                     uint32_t width,
                                     uint32_t height,
                                     bnn_detection *detections,
                                     size_t capacity,
                                     size_t *count);

/*
 * ---- Running tensors ---------------------------------------------------------------------------
 *
 * Values go in and come out in the layout of the original network, images of a batch one after the
 * other, in buffers of the caller. A length counts the values of a whole buffer and must be exactly
 * what the batch needs: batch times the elements of one image. Buffers for output must not overlap each
 * other or any input. When a call fails, the contents of its outputs are unspecified.
 */

/** Values for one input. */
typedef struct {
    /** The values. */
    const float *data;
    /** Their number. */
    size_t length;
} bnn_input;

/** Room for the values of one output. */
typedef struct {
    /** Where the values go. */
    float *data;
    /** Their number. */
    size_t length;
} bnn_output;

/** Runs a network of one input and one output on `batch` images. */
bnn_status bnn_session_run(bnn_session *session,
                           const float *input,
                           size_t input_length,
                           float *output,
                           size_t output_length,
                           size_t batch);

/**
 * Runs a network of one input and one output on `batch` pictures of bytes that have the size of its input:
 * nothing is resized. Pixels stand in rows from the top, without gaps, pictures one after the other;
 * bnn_model_picture() tells size and channels. They are normalised as the model file says.
 *
 * `pixels_length` is the number of bytes: batch * height * width * channels.
 */
bnn_status bnn_session_run_pixels(bnn_session *session,
                                  const uint8_t *pixels,
                                  size_t pixels_length,
                                  float *output,
                                  size_t output_length,
                                  size_t batch);

/**
 * Runs any network on `batch` images: `inputs` and `outputs` have one entry for each input and output of
 * the network, in their order.
 */
bnn_status bnn_session_run_tensors(bnn_session *session,
                                   const bnn_input *inputs,
                                   size_t input_count,
                                   const bnn_output *outputs,
                                   size_t output_count,
                                   size_t batch);

#ifdef __cplusplus
}
#endif

#endif /* BNN_H */
