"""The LaTeX table: golden, of one width throughout, and nothing that LaTeX would stumble on."""

import re

import pytest

from harness.report.latex import escape, render_latex
from harness.report.rows import make_rows

GOLDEN = r"""% Made from results/records by cli/regenerate_results.py: what is changed here is lost.
% Needs \usepackage{booktabs} and \usepackage{graphicx}.
\begin{table}
\centering
\caption{my\_set: measured; best in bold}
\label{tab:my-set}
\resizebox{\linewidth}{!}{%
\begin{tabular}{lrrrrr}
\toprule
Model & Top-1 \% $\uparrow$ (95\%) & Latency ms $\downarrow$ & Weights MB $\downarrow$ & @
GMACs $\downarrow$ & thop GMACs $\downarrow$ \\
\midrule
A \& B\textsuperscript{a} & 90.00 (89.0--91.0) & \textbf{25.00} & @
\textbf{94.00} & \textbf{4.000} & \textbf{4.100} \\
C (GPU)\textsuperscript{b} & \textbf{95.00} (94.0--96.0) & 25.00 & @
\textbf{94.00} & \textbf{4.000} & \textbf{4.100} \\
D\textsuperscript{c} & -- & -- & -- & -- & -- \\
\bottomrule
\end{tabular}}
\par\smallskip\raggedright\scriptsize
\textsuperscript{a}~2 epochs at 224 px from imagenet weights, 1.5 min.\quad
\textsuperscript{b}~3 epochs at 224 px from imagenet weights, 1.5 min.\quad
\textsuperscript{c}~failed: 100\% @
\{of\} \$x\_1\^{}2\$ \textbackslash{}n \# \textasciitilde{}.\quad
\end{table}
""".replace("@\n", "")


def rows_of(make_record):
    empty = dict.fromkeys(
        ("accuracy_top1", "latency_ms_p50", "weights_mb", "gmacs", "gmacs_thop"), None
    )
    reason = r"100% {of} $x_1^2$ \n # ~"
    return make_rows(
        [
            make_record(dataset="my_set", model="a", label="A & B"),
            make_record(
                dataset="my_set",
                model="c",
                label="C",
                device="cuda",
                epochs=3,
                accuracy_top1=95.0,
                accuracy_top1_low=94.0,
                accuracy_top1_high=96.0,
                device_name="a GPU",
            ),
            make_record(
                dataset="my_set", model="d", label="D", status="failed", reason=reason, **empty
            ),
        ]
    )


def test_a_table_without_anything_published(make_record):
    wanted = GOLDEN.replace(r"\^{}", r"\textasciicircum{}")
    # A single time of its machine is not the best of anything.
    wanted = wanted.replace(r"\textbf{25.00}", "25.00")
    assert render_latex(rows_of(make_record)) == wanted


def test_published_figures_stand_beside_ours(make_record, make_cost):
    text = render_latex(make_rows([make_record()], [make_cost(model="vgg", label="VGG-16")]))
    lines = text.splitlines()
    assert r"\begin{tabular}{lrrrrrrrrrrr}" in lines
    assert lines[9:12] == [
        r"Model & \multicolumn{2}{c}{Top-1 \% $\uparrow$ (95\%)} & "
        r"\multicolumn{2}{c}{Latency ms $\downarrow$} & "
        r"\multicolumn{2}{c}{$\div$ ResNet-50 $\downarrow$} & "
        r"\multicolumn{2}{c}{File MB $\downarrow$} & GMACs $\downarrow$ & "
        r"\multicolumn{2}{c}{thop GMACs $\downarrow$} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7} \cmidrule(lr){8-9} "
        r"\cmidrule(lr){11-12}",
        r" & ours & published & ours & published & ours & published & ours & published & ours & "
        r"ours & published \\",
    ]
    assert lines[13] == (
        r"ResNet-50\textsuperscript{a} & 90.00 (89.0--91.0) & 85.09 & 25.00 & 6.23 & -- & 1.00 & "
        r"-- & 94.43 & \textbf{4.000} & \textbf{4.100} & 4.13 \\"
    )
    (trunk,) = [line for line in lines if line.startswith("TRUNK")]
    assert trunk.endswith(
        r"& -- & 81.53 & -- & 31.2 & -- & 5.01 & -- & 1.97--2.85 & -- & -- & 0.08--0.09 \\"
    )


def width(line):
    """Return the columns that a line of a table takes."""
    spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
    return len(re.findall(r"(?<!\\)&", line)) + 1 + spans


@pytest.mark.parametrize("published", [False, True])
def test_the_table_is_whole(make_record, make_cost, published):
    rows = make_rows([make_record()], [make_cost()]) if published else rows_of(make_record)
    text = "\n".join(line for line in render_latex(rows).splitlines() if line[0] != "%")
    (spec,) = re.findall(r"\\begin\{tabular\}\{(lr*)\}", text)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {width(line) for line in body} == {len(spec)}
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert all(text.count(rf"\{rule}rule") == 1 for rule in ("top", "bottom"))
    # Whatever is special to LaTeX is escaped, but for the marks of the table itself.
    assert not re.search(r"(?<!\\)[#_~]", re.sub(r"(super\w+\{\w+\})~", "", text))


def test_special_letters_are_printed_as_they_are():
    assert escape(r"a_b & 5% {x} \n $ # ^ ~ <|>") == (
        r"a\_b \& 5\% \{x\} \textbackslash{}n \$ \# \textasciicircum{} \textasciitilde{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert escape("1–2 ± 3 × 4 ÷ 5 ≥ …") == (r"1--2 $\pm$ 3 $\times$ 4 $\div$ 5 $\geq$ \dots{}")
