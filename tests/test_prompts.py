import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sccalmflow.prompts import PromptTemplate, build_tokenizer, check_placeholders, encode, load_tokenizer

PAPER = "Generate a CD4 T cell stimulated with IL-6 and exposure acute:"
PAPER_CONTROL = "Generate a CD4 T cell with no stimulation and exposure acute:"
LABELS = {"cell_type": "CD4 T", "perturbation": "IL-6", "chronicity": "acute"}
# Lone surrogates are no text: no file can hold them.
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_sentences_are_the_papers() -> None:
    template = PromptTemplate()
    assert template.sentence(LABELS) == PAPER
    assert template.sentence(LABELS, control=True) == PAPER_CONTROL


def test_sentences_end_before_the_exposure_where_there_is_none() -> None:
    labels = {"cell_type": "CD4 T", "perturbation": "IL-6"}
    assert PromptTemplate().sentence(labels) == "Generate a CD4 T cell stimulated with IL-6:"
    assert PromptTemplate().sentence(labels, control=True) == "Generate a CD4 T cell with no stimulation:"


def test_each_context_label_can_be_left_out_and_the_perturbation_cannot() -> None:
    template = PromptTemplate()
    assert template.sentence({**LABELS, "cell_type": None}) == (
        "Generate a cell stimulated with IL-6 and exposure acute:"
    )
    assert template.sentence({}, control=True) == "Generate a cell with no stimulation:"
    with pytest.raises(ValueError, match=r"'perturbation'; put its part in \[ \]"):
        template.sentence({"cell_type": "B"})


@given(text, text, text)
def test_labels_are_inserted_as_they_are(cell_type: str, perturbation: str, chronicity: str) -> None:
    labels = {"cell_type": cell_type, "perturbation": perturbation, "chronicity": chronicity}
    assert PromptTemplate().sentence(labels) == (
        f"Generate a {cell_type} cell stimulated with {perturbation} and exposure {chronicity}:"
    )


@pytest.mark.parametrize("label", ["{perturbation}", "{", "}", "{}", "[x]", "[", "{0.__class__}", "{{a}}", "%s", "\\1"])
def test_braces_and_brackets_in_labels_mean_nothing(label: str) -> None:
    sentence = PromptTemplate().sentence({"cell_type": label, "perturbation": label})
    assert sentence == "Generate a " + label + " cell stimulated with " + label + ":"


def test_a_template_of_ones_own_names_covariates() -> None:
    template = PromptTemplate(
        "{donor}: {cell_type} with {perturbation}[ at {dose} nM]", "{donor}: {cell_type}, {{untreated}}"
    )
    assert template.placeholders == {"donor", "cell_type", "perturbation", "dose"}
    labels = {"donor": "d1", "cell_type": "B", "perturbation": "IL-2", "dose": "10"}
    assert template.sentence(labels) == "d1: B with IL-2 at 10 nM"
    assert template.sentence({**labels, "dose": None}) == "d1: B with IL-2"
    assert template.sentence(labels, control=True) == "d1: B, {untreated}"


@pytest.mark.parametrize(
    ("perturbed", "control", "message"),
    [
        ("Give {perturbation} [now", "none", "perturbed template has brackets that do not match"),
        ("Give {perturbation}] now", "none", "brackets"),
        ("Give {perturbation} [to [a] cell]", "none", "brackets.*nested"),
        ("Give {perturbation", "none", "perturbed template cannot be read"),
        ("Give perturbation}", "none", "cannot be read"),
        ("Give {} of {perturbation}", "none", "without a name"),
        ("Give something", "none", "must name {perturbation}"),
        ("Give something[ like {perturbation}]", "none", "outside of square brackets"),
        ("Give {perturbation}", "Give {perturbation}", "control template must not name"),
        ("Give {perturbation}", "Give [", "control template has brackets"),
    ],
)
def test_a_bad_template_is_refused_with_its_text(perturbed: str, control: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptTemplate(perturbed, control)


@pytest.mark.parametrize("field", ["{perturbation!r}", "{perturbation:>9}", "{perturbation[0]}"])
def test_a_placeholder_is_a_plain_name(field: str) -> None:
    with pytest.raises(ValueError, match="perturbed template cannot be read"):
        PromptTemplate(f"Give {field} or {{perturbation}}", "none")


def test_a_placeholder_may_have_dots_and_spaces_as_columns_of_obs_do() -> None:
    template = PromptTemplate("{cell line} with {drug.dose} of {perturbation}", "{cell line}")
    labels = {"cell line": "A549", "drug.dose": "10", "perturbation": "JQ1"}
    assert template.sentence(labels) == "A549 with 10 of JQ1"


def test_an_unknown_placeholder_is_refused_with_close_names() -> None:
    template = PromptTemplate("{perturbation} by {dnor}", "control")
    with pytest.raises(ValueError, match="{dnor}.*Did you mean 'donor'.*covariate_keys"):
        check_placeholders(template, ["cell_type", "perturbation", "donor"])
    check_placeholders(PromptTemplate(), ["cell_type", "perturbation"])  # no chronicity: its part stays out


@given(text)
def test_no_text_is_unknown_to_the_built_in_tokenizer_and_decoding_gives_it_back(sentence: str) -> None:
    tokenizer = build_tokenizer([PAPER, PAPER_CONTROL])
    encoding = tokenizer.encode(sentence)
    assert len(encoding.ids) > 0
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == sentence


@pytest.mark.parametrize("label", ["γδ T", "IFN-β", "🧬 cell", "細胞", "CD4<pad>", "a\tb\nc", "  two  spaces "])
def test_labels_in_any_script_come_back_from_their_tokens(label: str) -> None:
    tokenizer = build_tokenizer([PAPER])
    sentence = PromptTemplate().sentence({**LABELS, "cell_type": label})
    assert tokenizer.decode(tokenizer.encode(sentence).ids, skip_special_tokens=False) == sentence


def test_words_of_training_prompts_become_tokens_of_their_own() -> None:
    tokenizer = build_tokenizer([PAPER, PAPER_CONTROL])
    assert len(tokenizer.encode(PAPER).ids) < 20
    assert len(tokenizer.encode(PAPER).ids) < len(tokenizer.encode(PAPER.upper()).ids)


def test_neither_order_nor_repeats_of_the_sentences_change_the_tokenizer() -> None:
    sentences = [PromptTemplate().sentence({**LABELS, "perturbation": p}) for p in ("IL-2", "IL-4", "IFN-γ", "LPS")]
    expected = build_tokenizer(sentences).to_str()
    assert build_tokenizer(sentences[::-1]).to_str() == expected
    assert build_tokenizer(sentences * 3).to_str() == expected


def test_the_vocabulary_stays_within_its_bound() -> None:
    sentences = [f"Generate a cell number{i} stimulated with drug{i * 7919}:" for i in range(500)]
    assert build_tokenizer(sentences, vocab_size=300).get_vocab_size() <= 300


def test_a_tokenizer_loads_from_its_file_and_from_its_folder(tmp_path: Path) -> None:
    tokenizer = build_tokenizer([PAPER])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for place in (tmp_path / "tokenizer.json", tmp_path):
        assert load_tokenizer(str(place)).encode(PAPER).ids == tokenizer.encode(PAPER).ids


def test_a_tokenizer_that_cannot_be_found_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        load_tokenizer(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("sentence", ["", "  ", "\n\t"])
def test_an_empty_prompt_is_refused(sentence: str) -> None:
    with pytest.raises(ValueError, match="prompt is empty"):
        encode(build_tokenizer([PAPER]), sentence, 10)


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers_and_the_remedy() -> None:
    tokenizer = build_tokenizer([PAPER])
    n = len(tokenizer.encode(PAPER).ids)
    assert len(encode(tokenizer, PAPER, n)) == n
    with pytest.raises(ValueError, match=f"{n} tokens.*room for {n - 1}.*Generate a CD4.*max_prompt_tokens"):
        encode(tokenizer, PAPER, n - 1)


@pytest.mark.parametrize("name", ["gpt-neox-20B_tokenizer.json", "gpt2_tokenizer.json"])
def test_tokenizers_of_pretrained_models_load_and_give_the_sentence_back(name: str) -> None:
    if "SCCALMFLOW_DATA" not in os.environ:
        pytest.skip("SCCALMFLOW_DATA, the folder of the real tokenizers, is not set")
    path = Path(os.environ["SCCALMFLOW_DATA"], "tokenizers", name)
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    tokenizer = load_tokenizer(str(path))
    for sentence in (PAPER, PAPER_CONTROL, "Generate a γδ T 🧬 cell stimulated with {IFN-β}:"):
        ids = encode(tokenizer, sentence, 64)
        assert max(ids) < tokenizer.get_vocab_size()
        assert tokenizer.decode(ids) == sentence
    assert len(encode(tokenizer, PAPER, 64)) < 20
