"""How the page looks. Nothing is fetched from outside: the fonts are the machine's own."""

import gradio as gr

THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    spacing_size="sm",
    radius_size="md",
    font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
    font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
).set(
    body_text_color_subdued="*neutral_500",  # the theme's own grey is too pale to read easily
    block_info_text_color="*neutral_500",
    button_primary_background_fill="*primary_600",  # white text on the theme's own color is too faint
    button_primary_background_fill_hover="*primary_700",
)

CSS = """
.gradio-container { max-width: 1440px !important; margin: 0 auto; }
.gradio-container .html-container { padding: 0 !important; }
.about h1 { font-size: 1.5rem; font-weight: 650; letter-spacing: -.01em; margin: 0; }
.about p { color: var(--body-text-color-subdued); margin: .15rem 0 .25rem; line-height: 1.45; max-width: 72rem; }
.about a { color: var(--primary-600); padding: 0 !important; }
.card, .metrics, .note { margin: 0; font-size: .82rem; line-height: 1.4; color: var(--body-text-color-subdued); }
.card { min-height: 2.8em; }
.card b { color: var(--body-text-color); font-weight: 600; }
.note.wrong { color: var(--error-text-color, #b91c1c); overflow-wrap: anywhere; }
.metrics { min-height: 2.8em; font-variant-numeric: tabular-nums; }
.sheet, .blank { border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
  background: var(--background-fill-primary); }
.blank { aspect-ratio: 3 / 2; }
.sheet, #text-tab .blank { height: 27rem; aspect-ratio: auto; }
.sheet { display: flex; flex-direction: column-reverse; overflow-y: auto; padding: .8rem 1rem; }
.sheet > div { margin-bottom: auto !important; white-space: pre-wrap; overflow-wrap: anywhere;
  font-family: Georgia, "Times New Roman", serif; font-size: 1rem; line-height: 1.55; }
.sheet .prompt { color: var(--body-text-color-subdued); }
.sheet .shared { text-decoration: underline dotted var(--primary-500) 1.5px; text-underline-offset: .25em; }
.cursor { display: inline-block; width: .5em; height: 1em; margin-left: 1px; vertical-align: text-bottom;
  background: var(--primary-500); animation: blink 1s steps(2) infinite; }
@keyframes blink { 50% { opacity: 0; } }
.figure { width: 100%; height: auto; display: block; }
.plot { display: inline-block; width: 34rem; max-width: 100%; margin: .3rem; background: white;
  border-radius: var(--radius-md); }
.report table { font-variant-numeric: tabular-nums; }
.report :is(th, td) { overflow-wrap: normal !important; word-break: normal !important; }
.agreement { min-height: 1.4em; }
.player { display: flex; align-items: center; gap: .6rem; padding: .35rem .6rem; color: var(--body-text-color);
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-md); }
.player[hidden] { display: none; }
.player button { display: flex; padding: .4rem; border-radius: 50%; background: var(--primary-600); }
.player button:hover { background: var(--primary-700); }
.player button:focus-visible { outline: 2px solid var(--primary-300); outline-offset: 1px; }
.player svg { width: .9rem; height: .9rem; fill: white; }
.player input { flex: 1; min-width: 3rem; accent-color: var(--primary-600); }
.player span { font-size: .8rem; font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued); }
@media (max-width: 640px) { .sheet, #text-tab .blank { height: 16rem; } }
"""
