"""A mistake has the sentence of its code, unless there is something better to say."""

from data_plane.protocol.mistakes import BadRequestError
from shared.codes import SENTENCES, ErrorCode


def test_without_a_detail_the_code_has_its_sentence():
    error = BadRequestError(400, ErrorCode.INVALID_JSON)
    assert (error.status, error.detail) == (400, SENTENCES[ErrorCode.INVALID_JSON])


def test_a_detail_stands_instead():
    assert BadRequestError(400, ErrorCode.INVALID_REQUEST, "EOF").detail == "EOF"
