"""What can go wrong around an agent. Each is also the builtin that a caller would guess.

    MulliganError (mulligan.sandbox.errors)
    ├── AgentMisused      (ValueError)       `mulligan agent` lacks something, or was given what does not fit
    ├── RecordingInvalid  (ValueError)       that file is no recording, or cannot be written
    └── ModelError
        ├── ModelUnusable (ValueError)       it cannot be asked at all: no key, no such model, litellm is not installed
        ├── ModelFailed   (ConnectionError)  this request failed; `passing` where another may not
        └── PromptTooLong (ModelFailed)      the conversation is longer than what the model reads

What the model's code does wrong is no error here: it is told to the model.
"""

from __future__ import annotations

from mulligan.sandbox.errors import MulliganError


class AgentMisused(MulliganError, ValueError):
    pass


class RecordingInvalid(MulliganError, ValueError):
    pass


class ModelError(MulliganError):
    pass


class ModelUnusable(ModelError, ValueError):
    pass


class ModelFailed(ModelError, ConnectionError):
    """`passing`: it may go by, such as a 429 or a 500; `after` in seconds is how long its server asks to wait."""

    def __init__(
        self, message: str, *, hint: str = "", passing: bool = False, after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.passing = passing
        self.after = after


class PromptTooLong(ModelFailed):
    pass
