"""The layouts that others publish rows in: each with the row that it has to become."""

import json

import pytest

from spinward.errors import SettingsError
from spinward.language import row_layouts as layouts
from spinward.language.row_layouts import answered, asked, compared

USER, SAID = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}
OTHER = {"role": "assistant", "content": "no"}
SYSTEM = {"role": "system", "content": "Be brief."}
POST = {"id": "t", "post": "I lost it.", "title": "A key", "subreddit": "tifu"}
NEWS = {"id": "t", "article": "It rained.", "site": "cnn"}
TLDR = "SUBREDDIT: r/tifu\n\nTITLE: A key\n\nPOST: I lost it.\n\nTL;DR:"
SUMMARIES = [{"text": " a", "policy": "ref"}, {"text": " bb", "policy": "sup1"}]


@pytest.mark.parametrize(
    ("info", "prompt"), [(POST, TLDR), (NEWS, "Article:\n\nIt rained.\n\nTL;DR:")]
)
@pytest.mark.parametrize("choice", [0, 1])
def test_a_comparison_of_summaries_has_the_published_prompt(info, prompt, choice):
    found = compared("row 1", {"info": info, "summaries": SUMMARIES, "choice": choice})
    assert found["prompt"] == prompt
    assert (found["chosen"], found["rejected"]) == ((" a", " bb"), (" bb", " a"))[choice]
    assert asked("row 1", {"info": info})["prompt"] == prompt
    assert asked("row 1", info)["prompt"] == prompt if "post" in info else True
    row = answered("row 1", {**POST, "summary": "Lost a key."})
    assert (row["prompt"], row["completion"]) == (TLDR, " Lost a key.")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"choice": 2}, "choice=2 must be 0 or 1"),
        ({"choice": -1}, "choice=-1 must be 0 or 1"),
        ({"choice": True}, "choice=True must be 0 or 1"),
        ({"choice": "1"}, "choice='1' must be 0 or 1"),
        ({"choice": None}, "choice=None must be 0 or 1"),
        ({"choice": []}, "must be 0 or 1"),
        ({"summaries": SUMMARIES[:1]}, "expected two summaries"),
        ({"summaries": SUMMARIES * 2}, "expected two summaries"),
        ({"summaries": None}, "expected two summaries"),
        ({"summaries": ["a", "b"]}, "expected two summaries"),
        ({"summaries": [{"text": 3}, SUMMARIES[0]]}, "text is a int; expected a text"),
        ({"info": None}, "expected info with a post"),
        ({"info": {"id": "t"}}, "expected info with a post"),
        ({"info": {"post": "a"}}, "subreddit is a NoneType; expected a text"),
        ({"info": {**POST, "title": 7}}, "title is a int"),
    ],
)
def test_a_comparison_of_summaries_that_is_not_whole_is_told(change, told):
    with pytest.raises(SettingsError, match=f"row 4: .*{told}|row 4: {told}"):
        compared("row 4", {"info": POST, "summaries": SUMMARIES, "choice": 0, **change})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hi", "chosen": [USER, SAID], "rejected": [USER, OTHER]},  # UltraFeedback
        {"prompt": [USER], "chosen": [USER, SAID], "rejected": [USER, OTHER]},
        {"prompt": [USER], "chosen": [SAID], "rejected": [OTHER]},
        {"chosen": [USER, SAID], "rejected": [USER, OTHER]},
        {"prompt": "hi", "chosen": [SAID], "rejected": [OTHER]},
        {"prompt": "hi", "chosen": SAID, "rejected": OTHER},
        {"conversations": [USER], "chosen": SAID, "rejected": OTHER},
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "yo"},
            "rejected": {"from": "gpt", "value": "no"},
        },
    ],
)
def test_a_comparison_of_conversations_is_what_was_asked_and_two_answers(row):
    found = compared("row 1", row)
    assert (found["prompt"], found["chosen"], found["rejected"]) == ([USER], [SAID], [OTHER])


def test_answers_that_begin_alike_are_compared_after_that():
    more = {"role": "user", "content": "why?"}
    before = [USER, SAID, more]
    found = compared("", {"chosen": [*before, SAID], "rejected": [*before, OTHER]})
    assert found["prompt"] == before
    assert (found["chosen"], found["rejected"]) == ([SAID], [OTHER])


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "hi", "chosen": "a"}, "lacks 'rejected'; it has prompt, chosen"),
        ({"chosen": [SAID], "rejected": [OTHER]}, "has no prompt"),
        ({"chosen": "a b", "rejected": "c d"}, "has no prompt"),
        ({"chosen": 3, "rejected": 4}, "has no prompt"),
        ({"prompt": "hi", "chosen": [3], "rejected": [4]}, "a list of role and content"),
    ],
)
def test_a_comparison_that_lacks_something_is_told(row, told):
    with pytest.raises(SettingsError, match=f"row 2.*{told}"):
        compared("row 2", row)


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"messages": [USER, SAID]}, [USER, SAID]),
        ({"conversation": [USER, SAID]}, [USER, SAID]),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]},
            [USER, SAID],
        ),
        ({"conversations": [USER, SAID], "system": "Be brief."}, [SYSTEM, USER, SAID]),
        ({"messages": [SYSTEM, USER, SAID], "system": "Another."}, [SYSTEM, USER, SAID]),
    ],
)
def test_conversations_of_others_are_messages(row, messages):
    assert answered("row 1", row)["messages"] == messages
    assert asked("row 1", row)["prompt"] == messages[:-1]  # what the assistant is to answer


@pytest.mark.parametrize(
    ("row", "prompt", "completion"),
    [
        ({"prompt": "a", "completion": "b"}, "a", "b"),
        ({"prompt": "a", "response": "b"}, "a", "b"),
        ({"question": "a", "answer": "b"}, "a", "b"),
        ({"query": "a", "response": "b"}, "a", "b"),
        ({"input": "a", "output": "b"}, "a", "b"),
        ({"prompt": [USER], "completion": [SAID]}, [USER], [SAID]),
        (
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:",
            "3",
        ),
        (
            {"instruction": "Greet.", "input": "", "output": "Hi"},
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nGreet.\n\n### Response:",
            "Hi",
        ),
    ],
)
def test_prompts_and_answers_of_others_are_read_by_a_model_that_only_continues(
    row, prompt, completion
):
    found = answered("row 1", row, talks=False)
    assert (found["prompt"], found["completion"]) == (prompt, completion)
    assert asked("row 1", row, talks=False)["prompt"] == prompt


def test_an_instruction_is_what_a_user_says_to_a_model_that_talks():
    row = {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be brief."}
    found = answered("row 1", row)
    assert found["prompt"] == [SYSTEM, {"role": "user", "content": "Add.\n\n1 2"}]
    assert found["completion"] == "3"
    row = {"instruction": "Greet.", "context": "", "response": "Hi"}
    assert answered("row 1", row)["prompt"] == [{"role": "user", "content": "Greet."}]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"role": "user", "content": "hi", "tool_calls": None, "name": None}, USER),
        ({"role": "user", "content": [{"type": "text", "text": "h"}, {"text": "i"}]}, USER),
        ({"from": "human", "value": "hi"}, USER),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]},
            {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]},
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": 1}]},
            {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]},
        ),
    ],
)
def test_a_message_is_a_role_and_a_text(given, found):
    assert layouts.said("row 1, message 1", given) == found


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"role": "assistant", "content": None}, "has no content"),
        ({"role": "assistant"}, "has no content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "has no content"),
        ({"from": "gpt", "value": None}, "has no content"),
        ({"role": "user", "content": 3}, "its content is a int; expected a text"),
        ({"role": "user", "content": {"a": 1}}, "its content is a dict"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "a part of type 'image_url'"),
        ({"role": "user", "content": [3]}, "its content is a list"),
        ({"role": 3, "content": "a"}, "a list of role and content"),
        ({"content": "a"}, "a list of role and content"),
        ({"from": "narrator", "value": "a"}, "from='narrator' is not one of human"),
        ({"from": [], "value": "a"}, "is not one of human"),
        (3, "a list of role and content"),
    ],
)
def test_a_message_that_is_none_is_told_by_its_number(given, told):
    with pytest.raises(SettingsError, match=f"row 3, message 2.*{told}"):
        layouts.conversation("row 3", [USER, given])


def test_tools_are_a_list_or_the_json_of_one():
    tool = {"type": "function", "function": {"name": "add"}}
    assert layouts.tools_of("", {"tools": [tool]}) == [tool]
    assert layouts.tools_of("", {"tools": json.dumps([tool])}) == [tool]
    assert layouts.tools_of("", {"tools": None}) == layouts.tools_of("", {}) == []
    assert layouts.tools_of("", {"tools": ""}) == []
    for bad, told in (("{", "no JSON"), ({"a": 1}, "a dict; expected a list"), ("3", "a int")):
        with pytest.raises(SettingsError, match=f"row 5: tools is {told}"):
            layouts.tools_of("row 5", {"tools": bad})
