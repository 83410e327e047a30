"""Typed text in a model's alphabet."""

import json
import string
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.app.prompts.typed import Rewritten, in_alphabet, in_words
from waveletgpt.common.errors import InputError

NOVELS: str = json.loads((Path(__file__).parents[3] / "checkpoints/text-haar/config.json").read_text())["tokenizer"][
    "alphabet"
]
TEXT8 = " abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("typed", "text", "note"),
    [
        ("“Oh”, he said", '"Oh", he said', '“ ” became "'),
        ("it’s ‘so’", "it's 'so'", "’ ‘ became '"),  # in the order of the text
        ("wait — 1–2…", "wait -- 1-2...", "— became --, – became -, … became ..."),
        ("Zoé Ångström", "Zoe Angstrom", "é became e, Å became A, ö became o"),
        ("Zoe\u0301", "Zoe", "é became e"),
        ("Æsop’s ﬁne Œuvre, straße", "Aesop's fine Oeuvre, strasse", "Æ became Ae, ’ became ', ﬁ became fi, "
         "Œ became Oe, ß became ss"),
        ("½ ² ™ Ａ", "1/2 2 TM A", "½ became 1/2, ² became 2, ™ became TM, Ａ became A"),
        ("\ufeffone\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour", ""),
        ("a\tb\u00a0c\u3000d\u200be\u00adf", "a b c def", ""),
        ("à á â ã ä å ç", "a a a a a a c", "à á â ã ä å became a, ç became c"),
    ],
)  # fmt: skip
def test_what_people_type_becomes_what_the_model_knows(typed: str, text: str, note: str) -> None:
    assert in_alphabet(typed, NOVELS) == Rewritten(text, note)


def test_an_alphabet_of_small_letters() -> None:
    assert in_alphabet("Hello,  world:\n“It’s” ZOÉ!", TEXT8) == Rewritten(
        "hello world it s zoe ", "capitals became small letters, , : “ ’ ” ! became a space, É became e"
    )
    assert in_alphabet("acgt", "ACGT") == Rewritten("ACGT", "small letters became capitals")
    assert in_alphabet("“a”", "'a") == Rewritten("'a'", "“ ” became '")  # the next best quotes


def test_what_is_in_the_alphabet_stays() -> None:
    assert in_alphabet("\ufeff“é”\r\n", "\n\r“”é\ufeff") == Rewritten("\ufeff“é”\r\n", "")
    assert in_alphabet("e\u0301 ñ", " eé\u0303n") == Rewritten("é n\u0303", "ñ became n\u0303")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("costs 3 €", "the model does not know € (character 9); it knows letters, digits, spaces, line breaks and ! "),
        ("one\r\ntwo 你好", "the model does not know 你 好 (the first is line 2, character 5); it knows"),
        ("a\x00", "the model does not know U+0000 (character 2); it knows"),
        ("$%=<>@#", "the model does not know $ % = < > and more (the first is character 1); it knows"),
    ],
)
def test_the_rest_is_refused_in_one_readable_line(typed: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        in_alphabet(typed, NOVELS)
    assert str(refusal.value).startswith(message) and len(str(refusal.value).splitlines()) == 1


def test_a_replacement_stands_for_the_rest() -> None:
    assert in_alphabet("é€", "_e", "_") == Rewritten("e_", "é became e, € became _")


def test_an_alphabet_in_words() -> None:
    assert (
        in_words(NOVELS) == "letters, digits, spaces, line breaks and ! \" & ' ( ) * + , - . / : ; ? [ \\ ] ^ _ ` { } ~"
    )
    assert in_words(TEXT8) == "the letters a to z and spaces"
    assert in_words("ACGT") == "A C G T"
    assert in_words("".join(map(chr, range(0x4E00, 0x4E00 + 500)))).endswith(" ... (460 more)")


@settings(deadline=None)
@given(st.text(max_size=50), st.sampled_from([NOVELS, TEXT8, string.digits, "a"]))
def test_any_text_is_rewritten_or_refused(typed: str, alphabet: str) -> None:
    try:
        text, note = in_alphabet(typed, alphabet)
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert set(text) <= set(alphabet) and note.isprintable()
        assert in_alphabet(text, alphabet) == Rewritten(text, "")


def test_a_book_is_quick() -> None:
    begun = time.thread_time()
    in_alphabet("“It was the best of times …” " * 40_000, NOVELS)  # 1.2 million characters
    assert time.thread_time() - begun < 2
