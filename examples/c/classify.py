#!/usr/bin/env python3
"""Names what is on a picture, with ctypes: classify.py LIBBNN.so MODEL.bnn PICTURE"""
import ctypes
import os
import sys
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_size_t, c_void_p


class Prediction(Structure):
    _fields_ = [("index", c_size_t), ("label", c_char_p), ("probability", c_float)]


library, model_path, picture = sys.argv[1:]
bnn = ctypes.CDLL(library)
bnn.bnn_last_error_message.restype = c_char_p
bnn.bnn_model_open.argtypes = [c_char_p, POINTER(c_void_p)]
bnn.bnn_session_new.argtypes = [c_void_p, c_void_p, POINTER(c_void_p)]
bnn.bnn_session_classify_file.argtypes = [c_void_p, c_char_p, POINTER(Prediction), c_size_t, POINTER(c_size_t)]
bnn.bnn_session_free.argtypes = bnn.bnn_model_free.argtypes = [c_void_p]


def check(status):
    if status != 0:
        sys.exit(bnn.bnn_last_error_message().decode())


model, session, best, count = c_void_p(), c_void_p(), (Prediction * 3)(), c_size_t()
check(bnn.bnn_model_open(os.fsencode(model_path), byref(model)))
check(bnn.bnn_session_new(model, None, byref(session)))
check(bnn.bnn_session_classify_file(session, os.fsencode(picture), best, 3, byref(count)))
print(picture)
for prediction in best[:count.value]:
    print(f"{100 * prediction.probability:5.1f} %  {(prediction.label or b'(no name)').decode()}")
bnn.bnn_session_free(session)
bnn.bnn_model_free(model)
