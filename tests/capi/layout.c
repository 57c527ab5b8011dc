/*
 * The layouts and numbers of tests/capi/abi.txt as a C compiler sees them: this file need only compile.
 * It is also compiled as C++.
 */
#include <bnn.h>

#ifdef __cplusplus
#define SAME(found, expected) static_assert((found) == (expected), #found)
#else
#define SAME(found, expected) _Static_assert((found) == (expected), #found)
#endif

#if SIZE_MAX > 0xffffffff
SAME(sizeof(bnn_detection), 40);
SAME(sizeof(bnn_input), 16);
SAME(sizeof(bnn_output), 16);
SAME(sizeof(bnn_picture), 32);
SAME(sizeof(bnn_prediction), 24);
SAME(sizeof(bnn_session_options), 32);
SAME(sizeof(bnn_tensor), 32);
SAME(offsetof(bnn_detection, label), 8);
SAME(offsetof(bnn_detection, score), 16);
SAME(offsetof(bnn_detection, xmin), 20);
SAME(offsetof(bnn_detection, ymax), 32);
SAME(offsetof(bnn_input, length), 8);
SAME(offsetof(bnn_output, length), 8);
SAME(offsetof(bnn_picture, height), 8);
SAME(offsetof(bnn_picture, channels), 16);
SAME(offsetof(bnn_picture, order), 24);
SAME(offsetof(bnn_prediction, label), 8);
SAME(offsetof(bnn_prediction, probability), 16);
SAME(offsetof(bnn_session_options, threads), 8);
SAME(offsetof(bnn_session_options, isa), 16);
SAME(offsetof(bnn_session_options, memory_limit), 24);
SAME(offsetof(bnn_tensor, shape), 8);
SAME(offsetof(bnn_tensor, rank), 16);
SAME(offsetof(bnn_tensor, elements), 24);
#endif
SAME(sizeof(bnn_status), 4);
SAME(sizeof(bnn_channel_order), 4);
SAME(BNN_STATUS_OK, 0);
SAME(BNN_STATUS_INTERNAL, 10);
SAME(BNN_CHANNEL_ORDER_GRAY, 2);

int bnn_layout_is_as_recorded(void);
int bnn_layout_is_as_recorded(void) { return 1; }
