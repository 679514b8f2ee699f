"""The end of a native stream, however the network cuts it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.endings import Usage
from data_plane.protocol.ndjson import Scanner

FINAL = {
    "model": "llama3", "created_at": "2026-11-01T10:00:00Z", "message": {"content": ""},
    "done_reason": "stop", "done": True, "total_duration": 2_000_000_000,
    "load_duration": 1_000_000_000, "prompt_eval_count": 11, "prompt_eval_duration": 0,
    "eval_count": 7, "eval_duration": 500_000_000,
}  # fmt: skip
USAGE = Usage(
    prompt_tokens=11,
    completion_tokens=7,
    total_s=2.0,
    load_s=1.0,
    prompt_eval_s=0.0,
    eval_s=0.5,
)


def line(document, **options):
    return json.dumps(document, **options).encode() + b"\n"


def token(content):
    return {"model": "llama3", "message": {"role": "assistant", "content": content}, "done": False}


STREAM = b"".join([line(token("Hello")), line(token(' "done":true ')), line(FINAL)])


def fed(*chunks):
    scanner = Scanner()
    for chunk in chunks:
        scanner.feed(chunk)
    scanner.end()
    return scanner


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_a_stream_cut_anywhere_is_done(cut):
    scanner = fed(STREAM[:cut], STREAM[cut:])
    assert (scanner.done, scanner.usage, scanner.error) == (True, USAGE, None)


def test_a_stream_fed_byte_by_byte_is_done_with_its_last_line():
    scanner = Scanner()
    for index in range(len(STREAM)):
        assert not scanner.done
        scanner.feed(STREAM[index : index + 1])
    assert (scanner.done, scanner.usage) == (True, USAGE)


@pytest.mark.parametrize("length", range(0, len(STREAM) - 2, 3))
def test_a_stream_that_breaks_off_is_not_done(length):
    assert not fed(STREAM[:length]).done


def test_a_last_line_without_a_line_end_counts_when_the_stream_ends():
    assert fed(STREAM[:-1]).done


@pytest.mark.parametrize(
    "document",
    [
        token('"done":true'),
        token('{"done": true}'),
        token('\\"done\\":true'),
        {**token(""), "message": {"tool_calls": [{"function": {"arguments": {"done": True}}}]}},
        {**token(""), "message": {"tool_calls": [{"function": {"arguments": {"error": "no"}}}]}},
        token('{"error":"no"}'),
    ],
)
def test_what_a_model_writes_ends_nothing(document):
    compact = line(document, separators=(",", ":"))
    for data in (line(document), compact):
        scanner = fed(data)
        assert (scanner.done, scanner.error) == (False, None)


@given(st.text(), st.lists(st.integers(1, 40), max_size=40))
def test_no_content_and_no_cutting_fools_the_scanner(content, sizes):
    stream = line(token(content), ensure_ascii=False) + line(FINAL)
    chunks, start = [], 0
    for size in sizes:
        chunks.append(stream[start : start + size])
        start += size
    chunks.append(stream[start:])
    scanner = fed(*chunks)
    assert (scanner.done, scanner.usage, scanner.error) == (True, USAGE, None)
    assert not fed(line(token(content), ensure_ascii=False)).done


def test_a_tool_call_that_speaks_of_not_done_hides_no_end():
    final = {**FINAL, "message": {"tool_calls": [{"function": {"arguments": {"done": False}}}]}}
    assert fed(line(final)).done


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", " : ")])
def test_white_space_in_the_json_does_not_matter(separators):
    assert fed(line(FINAL, separators=separators)).done


def test_an_error_line_is_told_and_ends_nothing():
    scanner = fed(line(token("a")), line({"error": "llama runner terminated"}))
    assert (scanner.done, scanner.error) == (False, "llama runner terminated")


def test_many_lines_in_one_chunk_and_a_half_one_are_all_read():
    scanner = Scanner()
    scanner.feed(line(token("true")) * 3 + line(FINAL)[:20])
    assert not scanner.done
    scanner.feed(line(FINAL)[20:])
    assert scanner.done


@pytest.mark.parametrize("junk", [b"not true json\n", b'{"done":"true"}\n', b"[true]\n", b"\n\n"])
def test_junk_between_the_lines_is_passed_over(junk):
    assert fed(junk, line(FINAL)).done


def test_an_own_record_after_half_a_line_starts_a_line_of_its_own():
    scanner = Scanner()
    assert scanner.separator == b""
    scanner.feed(b'{"model":')
    assert scanner.separator == b"\n"
    scanner.feed(b'"a"}\n')
    assert scanner.separator == b""


def test_a_final_line_of_megabytes_is_read():
    final = line({**FINAL, "context": list(range(300_000))})
    assert len(final) > 2_000_000
    scanner = fed(*[final[i : i + 65_536] for i in range(0, len(final), 65_536)])
    assert (scanner.done, scanner.usage) == (True, USAGE)


@pytest.mark.parametrize("size", [65_536, 65_537])
def test_a_line_too_long_to_keep_is_judged_as_it_passes(size):
    final = line({**FINAL, "context": list(range(50_000))}, separators=(",", ":"))
    scanner = Scanner(max_line_bytes=100_000)
    for start in range(0, len(final), size):
        scanner.feed(final[start : start + size])
        assert len(scanner.rest) <= 100_000 + size
    assert scanner.done
    assert scanner.separator == b""


@pytest.mark.parametrize("cut", range(99_000, 99_060))
def test_the_mark_of_a_giant_line_is_found_wherever_it_is_cut(cut):
    giant = b'{"response":"' + b"x" * 99_000 + b'","done":true,"context":[1,2]}\n'
    scanner = Scanner(max_line_bytes=10_000)
    scanner.feed(giant[:50_000])
    scanner.feed(giant[50_000:cut])
    scanner.feed(giant[cut:])
    assert scanner.done


def test_lines_after_a_giant_one_are_read_again():
    scanner = Scanner(max_line_bytes=1_000)
    scanner.feed(b'{"response":"' + b"x" * 5_000)
    scanner.feed(b'"}\n' + line(token("a")) + line(FINAL)[:30])
    assert not scanner.done
    scanner.feed(line(FINAL)[30:])
    assert (scanner.done, scanner.usage) == (True, USAGE)


def test_a_deep_line_breaks_nothing():
    assert not fed(b'{"true":' + b"[" * 100_000 + b"\n").done
