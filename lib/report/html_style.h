#pragma once

namespace edgecompress {

/// The style sheet of the report's page. Pictures draw with its colours.
inline constexpr const char* kReportStyle = R"(
:root{--page:#fff;--ink:#1b1f24;--muted:#5b6470;--rule:#d8dde3;--card:#f4f6f8;--mark:#0b5cad;--bad:#b3261e;
--c0:#0b5cad;--c1:#c2570c;--c2:#2a7d4f;--c3:#8a3ffc;--c4:#a2191f;--c5:#00758f;--c6:#6b5b00;--c7:#555}
@media(prefers-color-scheme:dark){:root{--page:#14171a;--ink:#e8eaed;--muted:#9aa4af;--rule:#333a41;--card:#1e2328;
--mark:#7ab8f5;--bad:#ff8a80;--c0:#7ab8f5;--c1:#f5a66b;--c2:#79d2a0;--c3:#c8a6ff;--c4:#ff9aa0;--c5:#6fd6e8;--c6:#e0cc5c;
--c7:#bbb}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.7rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:36px 0 10px}
.muted,figcaption,small{color:var(--muted)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:20px 0}
.cards div{background:var(--card);border-radius:8px;padding:12px 14px;display:flex;flex-direction:column}
.cards span{color:var(--muted);font-size:.85rem}
.cards b{font-size:1.45rem;line-height:1.3}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:5px 12px 5px 0;text-align:left;border-bottom:1px solid var(--rule);white-space:nowrap}
th{color:var(--muted);font-weight:600}
td.fail{color:var(--bad);font-weight:700}
details{margin:14px 0}
summary{cursor:pointer;font-weight:600}
pre{background:var(--card);border-radius:8px;padding:12px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}
figure{margin:0 0 20px}
figcaption{margin:8px 0;font-size:.9rem}
figcaption b{color:var(--ink);font-size:1rem}
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(330px,100%),1fr));gap:24px;align-items:end}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:24px;margin-top:24px}
svg{width:100%;height:auto;display:block;max-width:720px;font:13px system-ui,sans-serif}
svg .ink{fill:var(--ink)}
svg .muted{fill:var(--muted)}
svg .grid{stroke:var(--rule)}
svg .mark{fill:var(--mark)}
svg .path{stroke:var(--mark);stroke-opacity:.5;fill:none}
svg [class^=line]{fill:none;stroke-width:2}
svg .line0{stroke:var(--c0)}svg .line1{stroke:var(--c1)}svg .line2{stroke:var(--c2)}svg .line3{stroke:var(--c3)}
svg .line4{stroke:var(--c4)}svg .line5{stroke:var(--c5)}svg .line6{stroke:var(--c6)}svg .line7{stroke:var(--c7)}
svg .fill0{fill:var(--c0)}svg .fill1{fill:var(--c1)}svg .fill2{fill:var(--c2)}svg .fill3{fill:var(--c3)}
svg .fill4{fill:var(--c4)}svg .fill5{fill:var(--c5)}svg .fill6{fill:var(--c6)}svg .fill7{fill:var(--c7)}
@media(max-width:480px){main{padding:16px 12px 48px}svg{font-size:15px}.cards b{font-size:1.25rem}
.cards{grid-template-columns:repeat(auto-fit,minmax(130px,1fr))}}
@media print{main{max-width:none}details>*{display:block}figure{break-inside:avoid}}
)";

}  // namespace edgecompress
