"""Texts of strangers that would run if a page took them for markup."""

from typing import Final

XSS: Final = (
    "<script>window.ran = true</script>",
    '"><img src=x onerror="window.ran = true">',
    "<svg onload='window.ran = true'>",
    "javascript:window.ran = true",
    "</title></textarea></style><script>window.ran = true</script>",
    "{{constructor.constructor('window.ran = true')()}}",
    '<a href="javascript:window.ran = true" autofocus onfocus="window.ran = true">x</a>',
    "<iframe srcdoc='<script>parent.ran = true</script>'></iframe>",
    "\u202e<b onmouseover=window.ran=true>",
)
"""As one text: the fields that hold them are long enough."""

LONG: Final = " ".join(
    (
        "W" * 160,
        "\u202e\u0645\u0631\u062d\u0628\u0627" * 12,  # from right to left, and overridden
        "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 24,  # one picture of three each
        "\u200b\u2060\ufeff" * 8
        + "Z\u0351\u0357\u0322" * 60,  # nothing to see; letters with towers
        "\u6771\u4eac" * 60,
    )
)
"""Words that burst a layout: long, without spaces, from right to left, invisible."""
