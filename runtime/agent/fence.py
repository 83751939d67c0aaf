"""What comes from files, tools, the network and an action's output is data, and is shown to the model as data.

Each piece stands between two lines that carry a mark which was drawn after the piece was there, and which does not
occur in it: whoever wrote the piece could not have written the line that ends it. The tokens by which chat templates
divide a conversation are broken up in it, for many servers read them wherever they stand.
"""

from __future__ import annotations

import re
import secrets

#: <|im_start|>, <|eot_id|> and their like, also with a wide bar; [INST], [TOOL_CALLS], <<SYS>>, <s>, <start_of_turn>
_CONTROL = re.compile(
    r"<(?=[|\uff5c])|(?<=[|\uff5c])>|\[(?=/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\])"
    r"|<(?=</?SYS>>|/?s>|(?:start|end)_of_\w+>)"
)


def fence(text: str, what: str) -> str:
    """`what` names the data in words of our own."""
    shown = _CONTROL.sub(lambda found: f"{found[0]}\\" if found[0] != ">" else "\\>", text)
    mark = draw(shown)
    return f"[data {mark}: {what}]\n{shown}\n[end of data {mark}]"


def draw(text: str) -> str:
    """A mark that does not occur in `text`: 16 hexadecimal digits."""
    while (mark := secrets.token_hex(8)) in text:
        pass
    return mark
