"""A LangGraph agent, its loop and its tool node, on a session; only the chat model is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import mulligan
from mulligan import Restoration, Session, Step
from mulligan.runtime.adapters.langchain import tools_of


@pytest.fixture(scope="module")
def opened(any_isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with mulligan.open(isolation=any_isolation, state=tmp_path_factory.mktemp("state")) as session:
        yield session


def calls(name: str, **arguments: Any) -> AIMessage:
    return AIMessage(content="", tool_calls=[{"name": name, "args": arguments, "id": name}])


def agent(session: Session, *says: AIMessage) -> Any:
    model = GenericFakeChatModel(messages=iter(says))
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode(tools_of(session, timeout=30)))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


SCRIPT = (
    calls("run_python", code="rows = [1, 2]; _ = open('a.txt', 'w').write('two'); print('ready')"),
    calls("run_python", code="rows.clear(); import os; os.remove('a.txt'); 1 / 0"),
    calls("undo"),
    calls("undo", steps=0),
    calls("run_python", code="sum(rows), open('a.txt').read()"),
    AIMessage(content="It is three."),
)


def check(messages: list[Any]) -> None:
    tools: list[Any] = [each for each in messages if isinstance(each, ToolMessage)]
    ready, failed, undone, wrong, summed = tools
    assert ready.content.endswith("completed]\nready") and isinstance(ready.artifact, Step)
    assert "ZeroDivisionError" in failed.content and "raised]" in failed.content
    assert "files put back: + a.txt" in undone.content and isinstance(undone.artifact, Restoration)
    assert "from 1 on" in wrong.content and wrong.artifact is None
    assert "(3, 'two')" in summed.content
    assert messages[-1].content == "It is three."


def test_a_langgraph_agent_runs_undoes_and_goes_on(opened: Session) -> None:
    opened.reset()
    state = agent(opened, *SCRIPT).invoke({"messages": [HumanMessage("Sum the rows.")]})
    check(state["messages"])


def test_so_does_one_on_an_event_loop(opened: Session) -> None:
    opened.reset()
    state = asyncio.run(agent(opened, *SCRIPT).ainvoke({"messages": [HumanMessage("Sum the rows.")]}))
    check(state["messages"])


def test_a_session_that_is_over_is_said_to_the_model(any_isolation: str, tmp_path: Any) -> None:
    with mulligan.open(isolation=any_isolation, state=tmp_path) as session:
        run, undo = tools_of(session)
        assert "cannot undo" in undo.invoke({})
    assert "closed" in run.invoke({"code": "1"})
