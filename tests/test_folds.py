import time

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.folds import (
    FoldError,
    check_no_leakage,
    fold_parts,
    fold_summary,
    leave_one_group_out,
    make_folds,
    read_folds,
    write_folds,
)

SETTINGS = {"n_splits": 5, "validation_share": 0.2, "seed": 7}
FEW = "ignore:fewer groups than"


def images(**per_class):
    """One row per image, every image its own group: images(a=5) gives a0 … a4."""
    rows = [(f"{label}{k}", label) for label, n in per_class.items() for k in range(n)]
    table = pd.DataFrame(rows, columns=["image", "label"])
    return table.assign(group=table["image"])


@pytest.fixture
def paper():
    """26 images over six classes, with 10 to 72 patches each."""
    table = images(a=5, b=5, c=4, d=4, e=4, f=4)
    patches = np.random.default_rng(0).integers(10, 73, len(table))
    return table.loc[np.repeat(np.arange(len(table)), patches)].reset_index(drop=True)


def paper_folds(table, **changed):
    with pytest.warns(UserWarning, match=r"c \(4\), d \(4\), e \(4\), f \(4\)"):
        return make_folds(table, **SETTINGS | changed)


def test_five_images_per_class_give_one_to_test_one_to_validation_and_three_to_train():
    folds = make_folds(images(a=5, b=5), **SETTINGS)
    counts = pd.crosstab([folds["fold"], folds["label"]], folds["part"])
    assert counts[["train", "validation", "test"]].to_numpy().tolist() == [[3, 1, 1]] * 10
    assert sorted(folds.loc[folds["part"] == "test", "group"]) == [
        *(f"a{k}" for k in range(5)),
        *(f"b{k}" for k in range(5)),
    ]


@pytest.mark.parametrize("as_images", [True, False])
def test_the_papers_numbers_lose_only_the_classes_that_arithmetic_forbids(paper, as_images):
    folds = paper_folds(paper.drop_duplicates("image") if as_images else paper)
    summary = fold_summary(folds)
    # four classes of four images, five folds: each of the four is missing once, and no more
    missing = [name for cell in summary["missing_from_test"] for name in cell.split(", ") if name]
    assert sorted(missing) == ["c", "d", "e", "f"]
    assert (summary["missing_from_validation"] == "").all()
    assert (summary[["train", "validation", "test"]].sum(axis=1) == 26).all()
    trained = folds[folds["part"] == "train"].groupby("fold")["label"].nunique()
    assert (trained == 6).all()


def test_validation_takes_about_its_share_of_every_class(paper):
    folds = paper_folds(paper)
    for fold in range(5):
        table = paper.assign(part=fold_parts(folds, paper["group"], fold))
        table = table[table["part"] != "test"]
        of_class = (table["part"] == "validation").groupby(table["label"]).mean()
        # the rule stops short of twice the share
        assert of_class.max() < 0.4
        assert of_class.min() > 0
        assert (table["part"] == "validation").mean() == pytest.approx(0.25, abs=0.1)


def test_parts_never_share_a_group(paper):
    folds = paper_folds(paper)
    for fold in range(5):
        parts = fold_parts(folds, paper["group"], fold)
        assert paper.assign(part=parts).groupby("group")["part"].nunique().max() == 1
    check_no_leakage(folds, paper)


def test_folds_depend_on_the_seed_and_not_on_the_order_of_rows(paper):
    folds = paper_folds(paper)
    shuffled = paper.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(folds, paper_folds(shuffled))
    assert not folds.equals(paper_folds(paper, seed=8))
    one_each = images(a=6, b=6)
    pd.testing.assert_frame_equal(
        make_folds(one_each, **SETTINGS),
        make_folds(one_each.sample(frac=1, random_state=1), **SETTINGS),
    )


@pytest.mark.filterwarnings(FEW)
def test_a_class_with_two_training_groups_keeps_both():
    # three folds over three groups of b: two are left to train, and half is too much to take
    folds = make_folds(images(a=12, b=3), n_splits=3, validation_share=0.2, seed=0)
    kept = folds[(folds["label"] == "b") & (folds["part"] == "train")].groupby("fold").size()
    assert kept.tolist() == [2, 2, 2]
    assert fold_summary(folds)["missing_from_validation"].tolist() == ["b", "b", "b"]
    # of the eight remaining groups of a, 2/8 is nearer to 0.2 than 1/8
    assert fold_summary(folds)["validation"].tolist() == [2, 2, 2]


def test_validation_is_never_empty():
    folds = make_folds(images(a=3, b=3), n_splits=3, validation_share=0.2, seed=0)
    assert fold_summary(folds)["validation"].tolist() == [1, 1, 1]
    assert (folds[folds["part"] == "train"].groupby("fold")["label"].nunique() == 2).all()


def test_groups_of_several_labels_stay_whole():
    table = pd.DataFrame(
        [(f"{label}-{day}", label, f"day{day}") for label in "abc" for day in range(5)],
        columns=["image", "label", "group"],
    )
    folds = make_folds(table, **SETTINGS)
    assert len(folds) == 5 * 15
    assert (
        fold_summary(folds)[["train", "validation", "test"]].to_numpy().tolist() == [[3, 1, 1]] * 5
    )
    check_no_leakage(folds, table)


@pytest.mark.filterwarnings(FEW)
def test_one_image_can_be_left_out_at_a_time():
    table = images(a=5, b=4)
    folds = make_folds(table, n_splits=9, validation_share=0.2, seed=0)
    assert (fold_summary(folds)["test"] == 1).all()
    check_no_leakage(folds, table)


def test_each_group_is_tested_alone_and_the_rest_divided_as_ever():
    """Nine images of two classes: of the others each class gives one to validation."""
    table = images(a=5, b=4).iloc[::-1]
    folds = leave_one_group_out(table, validation_share=0.2, seed=7)
    tested = folds[folds["part"] == "test"]
    assert tested["group"].tolist() == [f"a{k}" for k in range(5)] + [f"b{k}" for k in range(4)]
    assert tested["fold"].tolist() == list(range(9))
    inner = folds[folds["part"] == "validation"].groupby("fold")["label"].agg(sorted)
    assert inner.tolist() == [["a", "b"]] * 9
    check_no_leakage(folds, table)
    other = leave_one_group_out(table, validation_share=0.2, seed=8)
    assert not other.equals(folds)
    with pytest.raises(FoldError, match="class 'b': expected at least 3 groups, found 2"):
        leave_one_group_out(images(a=5, b=2), validation_share=0.2, seed=7)


@pytest.mark.filterwarnings(FEW)
@pytest.mark.parametrize("alone", [True, False], ids=["one left out", "three folds"])
def test_without_validation_two_groups_of_a_class_do(alone):
    """One to test and one to train on; one group would leave a fold without its class."""
    rule = {"validation_share": 0, "seed": 7}

    def divide(table):
        if alone:
            return leave_one_group_out(table, **rule)
        return make_folds(table, n_splits=3, **rule)

    folds = divide(images(a=3, b=2))
    assert set(folds["part"]) == {"train", "test"}
    assert (folds[folds["part"] == "train"].groupby("fold")["label"].nunique() == 2).all()
    check_no_leakage(folds, images(a=3, b=2))
    with pytest.raises(FoldError, match="class 'b': expected at least 2 groups, found 1"):
        divide(images(a=3, b=1))


def test_seeds_divide_images_of_different_size_differently(paper):
    """Each seed pairs the images anew, and the classes stay spread as evenly as they can be."""
    divisions = set()
    for seed in range(6):
        tested = paper_folds(paper, seed=seed).query("part == 'test'")
        divisions.add(frozenset(tested.groupby("fold")["group"].agg(frozenset)))
        assert tested.groupby(["fold", "label"])["group"].nunique().max() == 1
    assert len(divisions) == 6


def test_a_class_of_two_groups_is_refused():
    with pytest.raises(FoldError, match=r"^class 'b': expected at least 3 groups, found 2; add"):
        make_folds(images(a=5, b=2), **SETTINGS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (images(a=5), "two classes or more"),
        (images(a=5, b=5).drop(columns="group"), "expected column group"),
        (images(a=5, b=5).assign(label=[None, *"aaaabbbbb"]), "row 0: expected a label"),
    ],
)
def test_unusable_tables_are_refused_in_one_line(table, message):
    with pytest.raises(FoldError, match=message) as error:
        make_folds(table, **SETTINGS)
    assert "\n" not in str(error.value)


def test_more_folds_than_groups_are_refused():
    with pytest.raises(FoldError, match="at least 7 groups for 7 folds, found 6"):
        make_folds(images(a=3, b=3), n_splits=7, validation_share=0.2, seed=0)


def planted(change):
    table = images(a=5, b=5)
    folds = make_folds(table, **SETTINGS)
    return change(folds).reset_index(drop=True), table


def test_a_group_in_two_parts_of_a_fold_is_a_leak():
    def change(folds):
        row = folds[(folds["fold"] == 2) & (folds["part"] == "test")].head(1)
        return pd.concat([folds, row.assign(part="train", group="a0"), row.assign(group="a0")])

    folds, table = planted(change)
    with pytest.raises(FoldError, match=r"^fold 2: group 'a0': .*found in test and train"):
        check_no_leakage(folds, table)
    with pytest.raises(FoldError, match="in two parts"):
        fold_parts(folds, table["group"], 2)


def test_a_group_missing_from_a_fold_is_found():
    folds, table = planted(lambda f: f[(f["fold"] != 3) | (f["group"] != "b4")])
    with pytest.raises(FoldError, match=r"^fold 3: group 'b4': .*in none \(1 of 10"):
        check_no_leakage(folds, table)
    with pytest.raises(FoldError, match="'b4': expected in a part, found in none"):
        fold_parts(folds, table["group"], 3)


def test_a_group_tested_twice_is_a_leak():
    def change(folds):
        tested = folds[(folds["group"] == "a1") & (folds["part"] == "test")]["fold"].item()
        other = (folds["group"] == "a1") & (folds["fold"] == (tested + 1) % 5)
        return folds.assign(part=folds["part"].mask(other, "test"))

    folds, table = planted(change)
    with pytest.raises(FoldError, match=r"^group 'a1': .*found in that of folds \d, \d;"):
        check_no_leakage(folds, table)


def test_a_group_never_tested_is_found():
    def change(folds):
        return folds.assign(part=folds["part"].mask(folds["group"] == "a1", "train"))

    folds, table = planted(change)
    with pytest.raises(FoldError, match=r"^group 'a1': .*found in that of none;"):
        check_no_leakage(folds, table)


def test_parts_follow_the_patches():
    folds = pd.DataFrame(
        {"fold": 0, "group": ["7", "8", "9"], "label": "a", "part": ["train", "validation", "test"]}
    )
    parts = fold_parts(folds, [9, 7, 7, 8], 0)
    assert parts.tolist() == ["test", "train", "train", "validation"]
    with pytest.raises(FoldError, match=r"fold 1: expected one of \[0\]"):
        fold_parts(folds, [9], 1)


def test_folds_survive_the_file(tmp_path):
    table = images(a=5, NA=5)  # a name that CSV readers like to take for a gap
    folds = make_folds(table, **SETTINGS)
    write_folds(tmp_path / "folds.csv", folds)
    pd.testing.assert_frame_equal(read_folds(tmp_path / "folds.csv"), folds, check_dtype=False)
    check_no_leakage(read_folds(tmp_path / "folds.csv"), table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold,group,part\n0,a,test\n", "expected columns fold,group,label,part"),
        ("fold,group,label,part\n0,a,x,test\n1.5,a,x,test\n", "row 3: fold: .*'1.5'"),
        ("fold,group,label,part\n0,a,x,tset\n", "row 2: part: .*found 'tset'"),
        ("fold,group,label,part\n0,,x,test\n", "row 2: group: expected a name"),
    ],
)
def test_a_wrong_file_is_refused_by_row(tmp_path, text, message):
    path = tmp_path / "folds.csv"
    path.write_text(text)
    with pytest.raises(FoldError, match=message):
        read_folds(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FoldError, match="expected a file of folds, found none"):
        read_folds(tmp_path / "folds.csv")


def test_five_thousand_groups_take_seconds_at_most():
    table = images(**{f"c{k}": 556 for k in range(9)})
    start = time.process_time()
    check_no_leakage(make_folds(table, **SETTINGS), table)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        *[({"n_splits": n}, f"n_splits: expected two folds or more, found {n}; ") for n in (1, -1)],
        *[
            ({"validation_share": share}, f"validation_share: expected a share .* found {share}; ")
            for share in (30, 1.0, -1, float("nan"))
        ],
    ],
)
def test_arguments_out_of_range_are_refused(changed, words):
    """A percentage is no share, and one fold would train on nothing."""
    with pytest.raises(FoldError, match=words):
        make_folds(images(a=5, b=5), **SETTINGS | changed)
    if "n_splits" not in changed:
        with pytest.raises(FoldError, match=words):
            leave_one_group_out(images(a=5, b=5), **changed, seed=0)
