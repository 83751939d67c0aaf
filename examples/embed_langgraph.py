"""A LangGraph agent whose tools run Python in a session, and take it back.

A scripted chat model stands for a real one, to which `bind_tools` would say what there is.
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import mulligan
from mulligan.runtime.adapters.langchain import tools_of


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage(content="", tool_calls=[{"name": name, "args": arguments, "id": name}])


SCRIPT = [
    call("run_python", code="rows = [3, 1, 2]; _ = open('rows.txt', 'w').write(str(rows))"),
    call("run_python", code="rows.clear(); import os; os.remove('rows.txt')"),
    call("undo"),
    call("run_python", code="sorted(rows), open('rows.txt').read()"),
    AIMessage(content="The rows are back."),
]


def main() -> None:
    model = GenericFakeChatModel(messages=iter(SCRIPT))
    with mulligan.open() as session:
        graph: Any = StateGraph(MessagesState)
        graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("tools", ToolNode(tools_of(session)))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        for message in graph.compile().invoke({"messages": [HumanMessage("Sort them.")]})["messages"]:
            print(f"{message.type}: {message.content}")


if __name__ == "__main__":
    main()
