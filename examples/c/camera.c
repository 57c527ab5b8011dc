/*
 * Feeds a stream of frames to a network: camera MODEL.bnn [FRAMES]
 *
 * The camera is made up: a bright square on a dark ground moves to the right. Its frames have the size
 * that the network takes, so that nothing has to be resized; all buffers are made once and used for
 * every frame. (For frames of another size there is bnn_session_classify_pixels().)
 */
#include <bnn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Draws the frame with that number: rows from the top, pixels without gaps. */
static void take_frame(const bnn_picture *picture, size_t number, uint8_t *pixels)
{
    size_t side = picture->width < 4 ? 1 : picture->width / 4;
    size_t left = number % (picture->width - side + 1);
    size_t row;

    memset(pixels, 40, picture->width * picture->height * picture->channels);
    for (row = picture->height / 3; row < picture->height / 3 + side && row < picture->height; row++) {
        uint8_t *start = pixels + (row * picture->width + left) * picture->channels;
        memset(start, 220, side * picture->channels);
    }
}

int main(int argc, char **argv)
{
    bnn_model *model = NULL;
    bnn_session *session = NULL;
    bnn_picture picture;
    bnn_tensor scores;
    uint8_t *frame = NULL;
    float *output = NULL;
    size_t frames = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 30;
    size_t number;
    int result = EXIT_FAILURE;

    if (argc < 2) {
        fprintf(stderr, "usage: camera MODEL.bnn [FRAMES]\n");
        return 2;
    }
    if (bnn_model_open(argv[1], &model) != BNN_STATUS_OK ||
        bnn_model_picture(model, &picture) != BNN_STATUS_OK ||
        bnn_model_output(model, 0, &scores) != BNN_STATUS_OK ||
        bnn_session_new(model, NULL, &session) != BNN_STATUS_OK) {
        goto failed;
    }
    printf("%lux%lu pixels of %lu bytes, %s\n", (unsigned long)picture.width,
           (unsigned long)picture.height, (unsigned long)picture.channels, bnn_session_isa(session));

    frame = malloc(picture.width * picture.height * picture.channels);
    output = malloc(scores.elements * sizeof *output);
    if (frame == NULL || output == NULL) {
        fprintf(stderr, "camera: out of memory\n");
        goto done;
    }
    for (number = 0; number < frames; number++) {
        bnn_prediction best;
        size_t count;

        take_frame(&picture, number, frame);
        if (bnn_session_run_pixels(session, frame, picture.width * picture.height * picture.channels,
                                   output, scores.elements, 1) != BNN_STATUS_OK ||
            bnn_model_rank(model, output, scores.elements, &best, 1, &count) != BNN_STATUS_OK) {
            goto failed;
        }
        printf("frame %lu: %s, %.1f %%\n", (unsigned long)number,
               best.label != NULL ? best.label : "(no name)", (double)best.probability * 100.0);
    }
    result = EXIT_SUCCESS;
    goto done;

failed:
    fprintf(stderr, "camera: %s\n", bnn_last_error_message());
done:
    free(output);
    free(frame);
    bnn_session_free(session);
    bnn_model_free(model);
    return result;
}
