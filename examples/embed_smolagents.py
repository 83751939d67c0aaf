"""smolagents' CodeAgent on a session: its loop and tools, with files and memory that go back when an action fails.

A scripted model stands for a real one, and makes a mistake on purpose.
"""

from __future__ import annotations

from typing import Any

from smolagents import CodeAgent, tool
from smolagents.models import ChatMessage, MessageRole, Model

from mulligan.runtime.adapters.smolagents import MulliganExecutor

ACTIONS = [
    "prices = {'apple': price_of('apple'), 'pear': price_of('pear')}\nprint(prices)",
    "open('prices.txt', 'w').write('half a')\nprices.clear()\nprices['fig'] = price_of('fig')",
    "open('prices.txt', 'w').write(str(sum(prices.values())))\nfinal_answer(open('prices.txt').read())",
]


class Scripted(Model):  # type: ignore[misc]  # smolagents has no types
    def __init__(self) -> None:
        super().__init__(model_id="scripted")
        self._actions = iter(ACTIONS)

    def generate(self, messages: list[ChatMessage], **options: Any) -> ChatMessage:
        return ChatMessage(MessageRole.ASSISTANT, f"<code>\n{next(self._actions)}\n</code>")


@tool  # type: ignore[untyped-decorator]
def price_of(fruit: str) -> float:
    """What a piece costs.

    Args:
        fruit: Its name.
    """
    return {"apple": 0.5, "pear": 0.75}[fruit]


def main() -> None:
    with MulliganExecutor(undo_on_error=True) as executor:
        agent = CodeAgent([price_of], Scripted(), executor=executor, verbosity_level=0)
        print("answer:", agent.run("Add up the prices."))
        print(executor.session.timeline)


if __name__ == "__main__":
    main()
