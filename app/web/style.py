"""How the page looks. Nothing is fetched from outside: the fonts are the machine's own."""

import gradio as gr

from waveletgpt.app.web.scripts import script

THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    spacing_size="sm",
    radius_size="md",
    font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
    font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
).set(
    # The theme's own colours are too faint to read easily: text has a contrast of 4.5 or more with these.
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    block_label_text_color="*neutral_600",
    block_title_text_color="*neutral_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    button_cancel_background_fill="*neutral_800",
    button_cancel_text_color="white",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
    slider_color="*primary_600",
)

SHEETS = ("page", "figure", "lines", "transport", "looking", "scales", "which", "why", "runs")
CSS = "".join(script(f"{name}.css") for name in SHEETS)
