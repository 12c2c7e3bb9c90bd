"""The style sheet of a report: light and dark, printable, with nothing from outside."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f5f2; --card: #ffffff; --edge: #dfdcd5; --text: #1f2328; --soft: #667078;
  --grid: #e9e6e0; --axis: #b4b0a7; --accent: #2463c4; --good: #1c7c4a; --bad: #b3372b;
  --warn: #97650a; --heat: 222 84 30; --heat-text: #1f2328;
  --s0: #2463c4; --s1: #c45a11; --s2: #11806a; --s3: #8a4bb8; --s4: #b03060;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --card: #1c1f25; --edge: #31363f; --text: #e4e7eb; --soft: #98a2ad;
    --grid: #2a2f37; --axis: #59626d; --accent: #76a9f5; --good: #5fc38d; --bad: #f08477;
    --warn: #e0b050; --heat: 240 108 48; --heat-text: #ffffff;
    --s0: #76a9f5; --s1: #f0995a; --s2: #4fc3a7; --s3: #c394ea; --s4: #ee82a8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 1160px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 25px; line-height: 1.2; margin: 0; }
h2 { font-size: 18px; margin: 38px 0 12px; }
h3 { font-size: 14px; margin: 0 0 8px; }
p { margin: 6px 0; }
.soft { color: var(--soft); }
header .facts { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 8px;
  color: var(--soft); }
header .facts b { color: var(--text); font-weight: 600; }
.status { padding: 1px 10px; border-radius: 999px; border: 1px solid currentColor;
  font-size: 13px; }
.status.done { color: var(--good); } .status.failed { color: var(--bad); }
.status.stopped, .status.unfinished { color: var(--warn); }
.error { border-left: 3px solid var(--bad); padding: 6px 12px; margin-top: 12px;
  background: var(--card); overflow-wrap: anywhere; }
.tiles { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(205px, 45%), 1fr)); }
.tile, .card, .chart {
  background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 12px 14px;
  margin: 0; min-width: 0;
}
.tile .name { color: var(--soft); font-size: 13px; }
.tile .value { font-size: 23px; font-weight: 650; line-height: 1.25; }
.tile .value .was { color: var(--soft); font-weight: 400; }
.tile .note { color: var(--soft); font-size: 12.5px; }
.charts { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(345px, 100%), 1fr)); }
.chart svg { display: block; width: 100%; height: auto; margin-top: 6px; }
.chart .unit { color: var(--soft); font-size: 13px; margin-left: 8px; }
.chart svg text { font-size: 11px; fill: var(--soft); }
.chart svg .end { text-anchor: end; } .chart svg .mid { text-anchor: middle; }
.chart svg .grid { stroke: var(--grid); } .chart svg .axis { stroke: var(--axis); }
.chart svg .start { paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
.chart svg .reference { stroke: var(--soft); stroke-dasharray: 4 4; }
.chart svg .band { fill: var(--accent); fill-opacity: 0.1; }
.chart svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.chart svg .dot { stroke: var(--card); stroke-width: 0.8; }
.chart svg .readout { fill: transparent; }
.chart svg .readout:hover { fill: var(--soft); fill-opacity: 0.16; }
.line.s0 { stroke: var(--s0); } .line.s1 { stroke: var(--s1); } .line.s2 { stroke: var(--s2); }
.line.s3 { stroke: var(--s3); } .line.s4 { stroke: var(--s4); }
.dot.s0 { fill: var(--s0); } .dot.s1 { fill: var(--s1); } .dot.s2 { fill: var(--s2); }
.dot.s3 { fill: var(--s3); } .dot.s4 { fill: var(--s4); }
.key { display: inline-block; width: 14px; height: 3px; border-radius: 2px; margin-right: 6px;
  vertical-align: middle; }
.key.s0 { background: var(--s0); } .key.s1 { background: var(--s1); }
.key.s2 { background: var(--s2); } .key.s3 { background: var(--s3); }
.key.s4 { background: var(--s4); }
.legend { list-style: none; margin: 6px 0 0; padding: 0; font-size: 13px; color: var(--soft);
  display: flex; flex-wrap: wrap; gap: 2px 16px; }
.legend b { color: var(--text); font-weight: 600; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.pair { display: grid; gap: 14px; margin-bottom: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
.dialogue .head { display: flex; justify-content: space-between; gap: 10px; color: var(--soft);
  font-size: 13px; border-bottom: 1px solid var(--edge); padding-bottom: 6px; margin-bottom: 8px; }
.dialogue .head b { color: var(--text); white-space: nowrap; }
.turn { display: grid; grid-template-columns: 26px 1fr; gap: 8px; padding: 4px 0; }
.turn .who { width: 26px; height: 26px; border-radius: 50%; font-size: 12px; font-weight: 650;
  display: grid; place-items: center; border: 1.5px solid var(--axis); color: var(--soft); }
.turn.trained .who { border-color: var(--accent); background: var(--accent); color: var(--card); }
.turn .said { overflow-wrap: anywhere; white-space: pre-wrap; padding-top: 2px; }
.turn .said span { border-radius: 3px; padding: 1px 0; color: var(--heat-text);
  background: rgb(var(--heat) / calc(var(--n) * 0.72)); }
.turn .figures { color: var(--soft); font-size: 12.5px; font-variant-numeric: tabular-nums; }
.turn.opener .said { font-style: italic; }
.scale { display: flex; align-items: center; gap: 10px; color: var(--soft); font-size: 13px;
  margin-bottom: 12px; flex-wrap: wrap; }
.scale .bar { width: 190px; height: 12px; border-radius: 3px; border: 1px solid var(--edge);
  background: linear-gradient(to right, rgb(var(--heat) / 0), rgb(var(--heat) / 0.72)); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--edge);
  vertical-align: top; overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
.names td:first-child { white-space: nowrap; }
td.setting { text-align: right; padding-right: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
th { overflow-wrap: normal; }
td .meter { display: block; height: 7px; min-width: 90px; border-radius: 4px; margin-top: 7px;
  background: linear-gradient(to right, var(--accent) var(--share), var(--grid) var(--share)); }
.scroll { overflow-x: auto; }
.small { font-size: 12.5px; }
.chip { display: inline-block; padding: 0 8px; border-radius: 999px; font-size: 12px;
  border: 1px solid currentColor; white-space: nowrap; }
.chip.good { color: var(--good); } .chip.bad { color: var(--bad); }
.criteria { list-style: none; margin: 0 0 12px; padding: 0; }
.criteria li { padding: 2px 0; }
.systems td, .systems th { padding-right: 9px; }
.systems td:first-child { overflow-wrap: normal; min-width: 110px; }
.systems .interval { min-width: 84px; }
.systems tr.marked td { background: rgb(from var(--accent) r g b / 0.08); }
.interval { display: block; height: 12px; min-width: 110px; margin-top: 5px; border-radius: 3px;
  position: relative; background: linear-gradient(to right, var(--grid) var(--low),
  var(--accent) var(--low), var(--accent) var(--high), var(--grid) var(--high)); }
.interval::after { content: ""; position: absolute; top: -3px; bottom: -3px; width: 2px;
  left: calc(var(--value) - 1px); background: var(--text); }
.maps { display: grid; gap: 14px; margin-bottom: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
.heat td, .heat th { padding: 7px 10px; border-bottom: 0; }
.heat td.cell { border-radius: 4px; color: var(--heat-text);
  background: rgb(var(--heat) / calc(0.06 + var(--n) * 0.66)); }
.heat td.best { font-weight: 700; outline: 2px solid var(--text); outline-offset: -2px; }
.heat .corner { white-space: nowrap; }
.card + h3, .soft + h3 { margin-top: 20px; }
.spot { fill: rgb(var(--heat) / calc(0.12 + var(--n) * 0.8)); stroke: var(--axis); }
.spot.best { stroke: var(--text); stroke-width: 2; }
.maps svg { display: block; width: 100%; height: auto; }
.maps svg text { font-size: 11px; fill: var(--soft); }
.maps svg .end { text-anchor: end; } .maps svg .mid { text-anchor: middle; }
.maps svg .axis { stroke: var(--axis); }
.asked { font-style: italic; overflow-wrap: anywhere; }
.answer { display: grid; grid-template-columns: 124px 1fr; gap: 8px; padding: 5px 0;
  border-top: 1px solid var(--edge); font-size: 14px; overflow-wrap: anywhere; }
.answer.marked .said { font-weight: 600; }
.dialogue .soft.small { margin-bottom: 6px; }
.verdict { font-weight: 600; } .verdict.bad { color: var(--bad); }
.trace { display: flex; flex-wrap: wrap; gap: 8px 3px; margin-top: 10px; font-size: 12.5px;
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.trace .token { display: grid; min-width: 22px; text-align: center; }
.trace b { font-weight: 600; } .trace i { color: var(--soft); font-style: normal; }
.trace .given b { font-weight: 400; color: var(--soft); }
.trace .different b { color: var(--bad); text-decoration: underline; }
.trace .illegal b { background: var(--bad); color: var(--card); border-radius: 3px; }
.trace u { text-decoration: none; border-radius: 2px; margin-top: 1px; min-height: 17px;
  background: hsl(var(--h, 0) 75% 55% / var(--p, 0)); }
section > .card + .card, section > .charts + .card, .tiles + .sections { margin-top: 14px; }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--accent); margin-bottom: 10px; }
.sections { columns: 310px; column-gap: 14px; }
.sections .card { break-inside: avoid; margin-bottom: 14px; }
.sections td:first-child { color: var(--soft); }
@media (max-width: 600px) {
  main { padding: 20px 12px 40px; }
  .heat td, .heat th { padding: 5px 3px; font-size: 11.5px; }
  .heat .corner { white-space: normal; }
  .answer { grid-template-columns: 84px 1fr; }
}
@media print {
  body { background: none; } .card, .tile, .chart { break-inside: avoid; }
}
"""
