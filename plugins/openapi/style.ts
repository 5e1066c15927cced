/** The docs page's stylesheet. Colours are defined once per scheme; method badges share the hues. */
export const docsStyle = `
:root {
  color-scheme: light dark;
  --page: light-dark(#fdfdfc, #15171a);
  --panel: light-dark(#f4f4f1, #1c1f23);
  --line: light-dark(#e2e2dc, #30353b);
  --text: light-dark(#22262b, #e4e6e8);
  --faint: light-dark(#626a73, #9aa3ac);
  --accent: light-dark(#0b5cad, #79b8ff);
  --get: light-dark(#0b6e4f, #5fd3a5);
  --post: light-dark(#0b5cad, #79b8ff);
  --put: light-dark(#8a5a00, #e5b567);
  --delete: light-dark(#a8232f, #ff8b92);
}
* { box-sizing: border-box }
html { scroll-behavior: smooth; scroll-padding-top: 1.5rem }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.6 system-ui, sans-serif; display: grid; grid-template-columns: 19rem minmax(0, 1fr);
}
a { color: var(--accent) }
code { font: 0.875em/1.5 ui-monospace, 'SF Mono', Menlo, Consolas, monospace; overflow-wrap: anywhere }
small { color: var(--faint); font-size: 0.8125rem; font-weight: 400 }

nav {
  position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.5rem 1.25rem;
  background: var(--panel); border-right: 1px solid var(--line); font-size: 0.875rem;
}
nav a { color: inherit; text-decoration: none; display: flex; gap: 0.5rem; align-items: baseline; padding: 0.15rem 0 }
nav a:hover span, nav h2 a:hover { text-decoration: underline }
nav .brand { font-size: 1.25rem; font-weight: 700; margin-bottom: 1rem }
nav h2 { font-size: 0.75rem; letter-spacing: 0.06em; text-transform: uppercase; color: var(--faint); margin: 1.5rem 0 0.25rem }
nav ul { list-style: none; margin: 0; padding: 0 }
nav .method { flex: 0 0 3.25rem; background: none; padding: 0; text-align: left }

.search { display: block; color: var(--faint); margin: 0.75rem 0 }
.search input {
  display: block; width: 100%; margin-top: 0.25rem; padding: 0.4rem 0.6rem; font: inherit; color: var(--text);
  background: var(--page); border: 1px solid var(--line); border-radius: 0.4rem;
}
[hidden] { display: none !important }
pre {
  overflow-x: auto; margin: 0.35rem 0; padding: 0.75rem 1rem; background: var(--panel);
  border: 1px solid var(--line); border-radius: 0.4rem;
}
pre code { overflow-wrap: normal }

main { padding: 2.5rem clamp(1.25rem, 4vw, 4rem) 6rem; max-width: 64rem }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 0.75rem }
main h2 { font-size: 1.375rem; margin: 3.5rem 0 1rem; padding-bottom: 0.4rem; border-bottom: 1px solid var(--line) }
main h2::first-letter { text-transform: uppercase }
h3 { font-size: 1.0625rem; margin: 0; display: flex; gap: 0.75rem; align-items: baseline; flex-wrap: wrap }
h4 { font-size: 0.8125rem; letter-spacing: 0.04em; text-transform: uppercase; color: var(--faint); margin: 1.25rem 0 0.35rem }
article { border: 1px solid var(--line); border-radius: 0.625rem; padding: 1.25rem 1.5rem; margin: 1.25rem 0 }
article:target, tr:target { outline: 2px solid var(--accent); outline-offset: 2px }
article p { margin: 0.5rem 0 }
.summary { font-weight: 600 }

.method { font: 700 0.6875rem/1.7 ui-monospace, Menlo, Consolas, monospace; padding: 0 0.5rem; border-radius: 0.3rem; color: var(--faint) }
.method.get { color: var(--get) }
.method.post { color: var(--post) }
.method.put, .method.patch { color: var(--put) }
.method.delete { color: var(--delete) }
h3 .method { background: color-mix(in srgb, currentColor 13%, transparent) }

.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem }
th, td { text-align: left; vertical-align: top; padding: 0.45rem 1rem 0.45rem 0; border-top: 1px solid var(--line) }
tr:first-child > * { border-top: 0 }
th { width: 32%; font-weight: 600 }
.response { margin: 0.4rem 0; font-size: 0.9375rem }
.response b { font-variant-numeric: tabular-nums; margin-right: 0.4rem }
summary { cursor: pointer }

@media (max-width: 52rem) {
  body { display: block }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line) }
  nav ul { display: none }
  nav h2 { display: inline-block; margin: 0 1rem 0 0 }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto } }
`
