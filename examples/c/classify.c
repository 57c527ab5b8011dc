/*
 * Names what is on a picture: classify MODEL.bnn PICTURE...
 */
#include <bnn.h>
#include <stdio.h>
#include <stdlib.h>

#define TOP 3

static int fail(void)
{
    fprintf(stderr, "classify: %s\n", bnn_last_error_message());
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    bnn_model *model = NULL;
    bnn_session *session = NULL;
    bnn_session_options options = {0};
    int result = EXIT_SUCCESS;
    int argument;

    if (argc < 3) {
        fprintf(stderr, "usage: classify MODEL.bnn PICTURE...\n");
        return 2;
    }
    if (bnn_model_open(argv[1], &model) != BNN_STATUS_OK) {
        return fail();
    }
    options.size = sizeof options;
    options.threads = 2; /* share the rows of a picture */
    if (bnn_session_new(model, &options, &session) != BNN_STATUS_OK) {
        result = fail();
    }
    for (argument = 2; session != NULL && argument < argc; argument++) {
        bnn_prediction predictions[TOP];
        size_t count;
        size_t place;

        if (bnn_session_classify_file(session, argv[argument], predictions, TOP, &count) !=
            BNN_STATUS_OK) {
            /* A broken picture is no reason to leave out the others. */
            result = fail();
            continue;
        }
        printf("%s\n", argv[argument]);
        for (place = 0; place < count; place++) {
            const char *label = predictions[place].label;
            printf("  %5.1f %%  %s\n", (double)predictions[place].probability * 100.0,
                   label != NULL ? label : "(no name)");
        }
    }
    bnn_session_free(session);
    bnn_model_free(model);
    return result;
}
