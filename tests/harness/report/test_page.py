"""The page as text: everything is in it, in the same bytes, and nothing of a record is markup."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.records.cell import Record
from harness.records.cost import CostRecord
from harness.records.latency import LatencyRecord
from harness.records.material import Material
from harness.records.parts import Accuracy
from harness.report.page import PLOTLY, render_page, render_page_files, tree_sections
from harness.report.page_data import PER_BLOCK, field_meanings
from harness.report.page_sections import PageTable, Section, first_sections, last_sections
from harness.report.table import Column, Shown, Table
from harness.reproduction.judging import judge_publication
from tests.records import findings_of

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> {{ 7 * 7 }} & \"'"


class Page(HTMLParser):
    """The page's elements, and the JSON in its script elements by their ids."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.json, self.scripts, self._into = [], {}, [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "script":
            self._into = attributes.get("id", "")

    def handle_endtag(self, tag):
        if tag == "script":
            self._into = None

    def handle_data(self, text):
        if self._into == "":
            self.scripts.append(text)
        elif self._into is not None:
            self.json[self._into] = json.loads(text)

    def rows(self):
        data = self.json["data"]
        return [dict(zip(data["fields"], row, strict=True)) for row in data["rows"]]


def render(*records, **parts):
    return render_page(Material(records=records), **parts)


def test_the_table_has_what_the_records_have(make_run):
    records = [
        make_run(),
        make_run("vgg", status="failed", reason="loss is nan", accuracy_top1=None),
    ]
    page = Page(render(*records))
    first, second = page.rows()
    assert (first["title"], first["stem"], first["started"]) == (
        *("Resnet", "resnet-cpu"),
        "2026-11-22",
    )
    assert [first[f"accuracy_top1{end}"] for end in ("_low", "", "_high")] == [85, 90, 94]
    assert (second["status"], second["reason"], second["accuracy_top1"]) == (
        *("failed", "loss is nan"),
        None,
    )
    data = page.json["data"]
    assert first["energy_j_per_image"] is None
    assert data["reasons"][first["why"]["energy_j_per_image"]] == "no counters here"
    assert len(data["reasons"]) == 1


def test_all_that_is_behind_a_number_is_there(make_run):
    page = Page(render(make_run()))
    (details,) = page.json["details-0"]
    for name in ("command", "seed", "git_commit", "data_sha256", "device_name", "environment"):
        assert details[name] == make_run().flat[name]
    assert page.json["settings"][details["settings"]] == {"seed": 42, "training": {"epochs": 2}}
    assert details["history"]["loss"] == [2.0321, 0.5]
    assert "energy_j_per_image" not in details
    assert details["not_measured"] == {"energy_j_per_image": "no counters here"}


def test_records_are_in_blocks_and_share_settings(make_run):
    records = [make_run(f"net{n:03d}", settings={"seed": n % 2}) for n in range(PER_BLOCK + 1)]
    page = Page(render(*records))
    assert [len(page.json[f"details-{n}"]) for n in (0, 1)] == [PER_BLOCK, 1]
    assert page.json["details-1"][0]["model"] == f"net{PER_BLOCK:03d}"
    assert page.json["settings"] == [{"seed": 0}, {"seed": 1}]
    assert page.json["details-1"][0]["settings"] == 0


def test_figures_name_the_cells_by_their_place(make_run):
    records = [
        make_run("a", accuracy_top1=90.0, gmacs=1.0),
        make_run("b", accuracy_top1=80.0, gmacs=2.0),
        make_run("c", accuracy_top1=95.0, gmacs=3.0, dataset="emnist"),
        make_run("d", gmacs=None, dataset="svhn", latency_ms_p50=None, weights_mb=None),
    ]
    figures = Page(render(*records)).json["data"]["figures"]
    assert figures["digits"]["gmacs"]["groups"] == [{"name": "", "rows": [0, 1], "front": [0]}]
    assert figures["digits"]["latency"]["groups"][0]["name"] == "a processor, 2 threads"
    assert figures["emnist"]["gmacs"]["groups"][0]["rows"] == [2]
    assert len(figures["emnist"]["gmacs"]["published"]) == 10
    assert "svhn" not in figures


def test_texts_of_records_are_never_markup(make_run):
    record = make_run(
        label=HOSTILE,
        command=HOSTILE,
        data_name=HOSTILE,
        reason=HOSTILE,
        not_measured={"energy_j_per_image": HOSTILE},
        settings={HOSTILE: HOSTILE},
        classes=[HOSTILE],
    )
    column = Column(name=HOSTILE, get=lambda text: Shown(text=text, link=text))
    section = Section(
        anchor="verdicts",
        title=HOSTILE,
        texts=[HOSTILE],
        tables=[PageTable(title=HOSTILE, table=Table.of([HOSTILE], [column]))],
    )
    text = render(record, first=[section])
    page, plain = Page(text), Page(render(make_run()))
    assert [tag for tag, _ in page.elements if tag == "script"] == [
        tag for tag, _ in plain.elements if tag == "script"
    ]
    assert not [tag for tag, attributes in page.elements if "onerror" in attributes]
    assert "<img src=x" not in text
    assert "49" not in page.rows()[0]["title"]
    assert page.rows()[0]["title"] == HOSTILE
    assert page.json["details-0"][0]["command"] == HOSTILE
    assert page.json["settings"] == [{HOSTILE: HOSTILE}]


def test_no_script_runs_but_the_pages_own(make_run):
    page = Page(render(make_run()))
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src 'self' file: data: blob:",
        "style-src 'unsafe-inline'",
        f"script-src 'self' file: 'sha256-{digest}'",
    ]
    sources = [a[name] for _, a in page.elements for name in ("src", "href") if a.get(name)]
    assert not [source for source in sources if re.match(r"[a-z]+:|//", source)]


def test_what_json_does_not_have_is_named(make_run):
    page = Page(render(make_run(environment={"swap_gb": float("nan")})))
    assert page.json["details-0"][0]["environment"] == {"swap_gb": "nan"}


def test_the_same_bytes_twice_and_an_empty_page(make_run, make_latency_record):
    assert render(make_run()) == render(make_run())
    page = Page(render())
    assert page.rows() == []
    assert ("section", "figures") not in {(tag, a.get("id")) for tag, a in page.elements}


def test_runs_with_other_seeds_are_rows_but_no_marks(make_run):
    page = Page(render(make_run(), make_run(seed=2, repeat=True)))
    assert [(row["stem"], row["seed"]) for row in page.rows()] == [
        ("resnet-cpu", 42),
        ("resnet-cpu-seed2", 2),
    ]
    (group,) = page.json["data"]["figures"]["digits"]["size"]["groups"]
    assert group["rows"] == [0]


def test_comparisons_of_latencies_are_tables_with_their_records(make_latency_record):
    material = Material(records=[], latencies=[make_latency_record()])
    text = render_page(material, last=last_sections(material))
    assert 'href="#latency/cifar10-cpu-2t"' in text
    assert "<td>ViT-B/16</td><td>compile</td>" in text.replace("\n", "")
    assert "not timed: it is routed, and there are no weights" in text
    record = Page(text).json["sources"]["latency/cifar10-cpu-2t"]
    assert record["command"] == "python comparisons.py --measure latency"


def test_verdicts_lead_to_what_they_rest_on(make_cost):
    material = Material(records=[], costs=[make_cost(gmacs_thop=5.0)])
    (section,) = first_sections(judge_publication(material))
    assert section.texts[0].startswith("Of the 120 published figures 1 reproduce, 1 differ")
    counts, differing, *datasets, contradictions = [each.table for each in section.tables]
    assert counts.frame.values.tolist() == [
        *(["Top-1 %", 0, 0, 30], ["Latency ÷ ResNet-50", 0, 0, 30]),
        *(["Size MB", 1, 0, 29], ["thop GMACs", 0, 1, 29]),
    ]
    ((_, row),) = differing.rows()
    shown = [each.text for each in row]
    assert shown[:5] == ["cifar10", "ResNet50", "thop GMACs", "4.13", "5.00"]
    assert row[4].link == "costs/cifar10/resnet-224"
    assert [len(table.frame) for table in datasets] == [40, 40, 40]
    assert len(contradictions.frame) >= 10
    text = render_page(material, first=[section], last=last_sections(material))
    assert '<a href="#costs/cifar10/resnet-224">5.00</a>' in text
    source = Page(text).json["sources"]["costs/cifar10/resnet-224"]
    assert source["command"] == "python comparisons.py --measure cost"


def test_without_anything_published_there_are_no_verdicts(make_run):
    assert first_sections(judge_publication(Material(records=[make_run()]))) == []
    assert last_sections(Material(records=[make_run()])) == []


def test_the_page_says_what_models_were_not_trained_alike_by(make_run):
    tuning = {"trials": 8, "images": 1000, "epochs": 3, "searched": ["training.epochs"]}
    records = [
        make_run(model, settings={"training": {"epochs": epochs}, "tuning": tuned})
        for model, epochs, tuned in (
            ("resnet", 2, tuning | {"space": "1" * 16}),
            ("vgg", 3, tuning | {"space": "1" * 16, "trials": 4}),
        )
    ]
    findings = findings_of([*records, make_run("resnet", dataset="emnist")])
    files = render_page_files(Path(), findings.material, findings.reproduction, findings.compared)
    text = files[Path("index.html")]
    section = text[text.index('id="ranking"') :]
    assert "<td>digits</td><td>no: epochs (2, 3)</td><td>no: tuning (4 trials of" in section
    # One cell alone is not compared with anything.
    assert "<td>emnist</td>" not in section
    assert '<a href="#digits/resnet-cpu">Resnet</a>' in section
    assert "digits: 10 test images of digits</summary>" in section


def test_sections_come_first_with_links_and_badges(make_run):
    columns = (
        Column(name="Cell", get=lambda _: Shown(text="ResNet-50", link="digits/resnet-cpu")),
        Column(name="Verdict", get="verdict", badge=True),
        Column(name="Ratio", get="ratio", digits=2),
    )
    table = PageTable(table=Table.of([{"verdict": "cannot be judged", "ratio": 1}], columns))
    section = Section(anchor="verdicts", title="Does it reproduce?", tables=[table])
    text = render(make_run(), first=[section])
    assert '<td><a href="#digits/resnet-cpu">ResNet-50</a></td>' in text
    assert '<span class="status cannot-be-judged">cannot be judged</span>' in text
    assert '<td class="number">1.00</td>' in text
    assert text.index('id="verdicts"') < text.index('id="cells"')
    assert '<a href="#verdicts">Does it reproduce?</a>' in text


def test_trees_are_shown_svg_first_with_their_tables(tmp_path):
    assert tree_sections(tmp_path) == []
    (tmp_path / "trees").mkdir()
    for name in ("b-tree.png", "b-tree.svg", "a-tree.png", "empty.csv"):
        (tmp_path / "trees" / name).touch()
    (tmp_path / "trees" / "a-curve.csv").write_text("network,top-1 %\nTRUNK,81.5\nflat,\n")
    [section] = tree_sections(tmp_path)
    assert [each.source for each in section.pictures] == ["trees/a-tree.png", "trees/b-tree.svg"]
    assert section.pictures[0].words == "a tree"
    [table] = section.tables
    assert table.title == "a curve"
    assert table.table.frame.to_numpy().tolist() == [["TRUNK", "81.5"], ["flat", ""]]


def test_what_the_page_needs_lies_beside_it(tmp_path, make_run):
    material = Material(records=[make_run()])
    files = render_page_files(tmp_path, material, judge_publication(material), {})
    assert set(files) == {
        Path("index.html"),
        *(Path("assets/plotly-basic.min.js"), Path("assets/plotly-basic.LICENSE")),
    }
    notes = PLOTLY.with_name("README.md").read_text()
    assert hashlib.sha256(PLOTLY.read_bytes()).hexdigest() in notes
    assert files[Path("assets/plotly-basic.min.js")].encode() == PLOTLY.read_bytes()


@pytest.mark.parametrize("cls", [Record, LatencyRecord, CostRecord])
def test_every_field_has_a_meaning(cls):
    assert set(cls.__dataclass_fields__) == set(field_meanings(cls))


def test_every_field_that_the_page_shows_has_a_meaning_there(make_run):
    meanings = Page(render(make_run())).json["data"]["meanings"]
    assert set(make_run().flat) - set(meanings) == set()
    assert meanings["dataset"] == "The data set's name."


def test_meanings_go_on_over_lines():
    assert field_meanings(Accuracy)["confusion_matrix"] == (
        "Counts; rows are true classes, columns are predictions."
    )
    assert field_meanings(Record)["not_measured"] == (
        "Reasons, by the name of the field that is None."
    )
    assert "number of images, top-1" in field_meanings(Accuracy)["accuracy_fp32_check"]
