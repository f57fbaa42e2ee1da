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
