"""The CodeAct loop: a model's reply is Python, its action is a step, what comes of it goes back to the model.

protocol.py    a reply's text becomes actions, or what is wrong with it
observing.py   a step becomes what the model is shown of it; fence.py marks it as data
budgets.py     what a run may take, and what it has taken
model.py       whom the loop speaks to; served.py and speaking.py (litellm, in a process apart), scripted.py
loop.py        the story of one run, told as events (events.py); agent.py is what callers hold
"""
