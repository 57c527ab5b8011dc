#!/usr/bin/env python3
"""Two copies of the C library in one process: each answers, and neither disturbs the other.

usage: side_by_side.py LIBRARY OTHER_LIBRARY MODEL.bnn PICTURE CLASS

The two files must differ in their names; the loader would take one for both otherwise. A program may
have two versions without knowing, through libraries that it uses.
"""

import ctypes
import os
import sys


class Prediction(ctypes.Structure):
    """`bnn_prediction` of bnn.h."""

    _fields_ = [
        ("index", ctypes.c_size_t),
        ("label", ctypes.c_char_p),
        ("probability", ctypes.c_float),
    ]


def load(path):
    """Loads a library whose names stay its own."""
    library = ctypes.CDLL(os.path.abspath(path), mode=os.RTLD_LOCAL | os.RTLD_NOW)
    library.bnn_version.restype = ctypes.c_char_p
    library.bnn_last_error_message.restype = ctypes.c_char_p
    return library


def check(library, status):
    """Ends the program with the library's own message if a call failed."""
    if status != 0:
        raise SystemExit(library.bnn_last_error_message().decode())


def opened(library, path):
    """A model and a session on it."""
    model, session = ctypes.c_void_p(), ctypes.c_void_p()
    check(library, library.bnn_model_open(os.fsencode(path), ctypes.byref(model)))
    check(library, library.bnn_session_new(model, None, ctypes.byref(session)))
    return model, session


def best(library, session, picture):
    """The likeliest class of a picture and its probability."""
    prediction, count = Prediction(), ctypes.c_size_t()
    check(
        library,
        library.bnn_session_classify_file(
            session, os.fsencode(picture), ctypes.byref(prediction), 1, ctypes.byref(count)
        ),
    )
    return prediction.label.decode(), prediction.probability


def main():
    first_path, second_path, model_path, picture, expected = sys.argv[1:]
    libraries = [load(first_path), load(second_path)]
    addresses = [
        ctypes.cast(library.bnn_version, ctypes.c_void_p).value for library in libraries
    ]
    assert addresses[0] != addresses[1], "the loader took one library for both"
    # Both are at work at the same time, and one goes on when the other has been given back.
    handles = [opened(library, model_path) for library in libraries]
    answers = [best(library, handle[1], picture) for library, handle in zip(libraries, handles)]
    assert answers[0] == answers[1] and answers[0][0] == expected, answers
    missing = os.fsencode(model_path + ".missing")
    assert libraries[0].bnn_model_open(missing, ctypes.byref(ctypes.c_void_p())) != 0
    assert libraries[0].bnn_last_error_message(), "the error of a failed call"
    assert not libraries[1].bnn_last_error_message(), "an error of the other library"
    model, session = handles[0]
    libraries[0].bnn_session_free(session)
    libraries[0].bnn_model_free(model)
    assert best(libraries[1], handles[1][1], picture) == answers[1]
    libraries[1].bnn_session_free(handles[1][1])
    libraries[1].bnn_model_free(handles[1][0])
    print(f"two libraries ({libraries[0].bnn_version().decode()}): {answers[0][0]} and {answers[1][0]}")


if __name__ == "__main__":
    main()
