"""Authentication policies: basic, bearer, digest, OAuth2 and OpenID Connect, inline or from a secret."""

from __future__ import annotations

from typing import Any, Final

from tenuto.language.grammar.forms import NOT_EMPTY, TEXT, URI
from tenuto.language.grammar.shapes import Choice, Depending, Enumeration, Fields, Items, Kind, Word
from tenuto.language.grammar.walk import Shape

_AUTHENTICATION: Final = "authentication"


def _credentials(scheme: str, properties: dict[str, Shape], **rest: Any) -> Shape:
    """Return the shape of one scheme's configuration: inline, or `use` with the name of a secret."""
    return Depending(
        key="use",
        present=Fields(
            title=f"`{scheme}` from a secret",
            anchor=_AUTHENTICATION,
            shapes={"use": Word(NOT_EMPTY, section="secrets")},
        ),
        absent=Fields(
            title=f"`{scheme}`",
            anchor=_AUTHENTICATION,
            shapes=properties,
            synonyms={"use": "use", "user": "username", "secret": "use"},
            **rest,
        ),
    )


_OAUTH2_TOKEN: Final = Fields(
    title="a security token",
    anchor=_AUTHENTICATION,
    shapes={"token": TEXT, "type": TEXT},
    required=("token", "type"),
)
_GRANTS: Final = (
    "authorization_code",
    "client_credentials",
    "password",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:token-exchange",
)
_CLIENT_METHODS: Final = (
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "none",
)
_OIDC: Final[dict[str, Shape]] = {
    "authority": Word(URI),
    "grant": Enumeration(_GRANTS),
    "client": Fields(
        title="the OAuth2 client",
        anchor=_AUTHENTICATION,
        shapes={
            "id": TEXT,
            "secret": TEXT,
            "assertion": TEXT,
            "authentication": Enumeration(_CLIENT_METHODS),
        },
    ),
    "request": Fields(
        title="the token request",
        anchor=_AUTHENTICATION,
        shapes={"encoding": Enumeration(("application/x-www-form-urlencoded", "application/json"))},
        open=True,
    ),
    "issuers": Items(TEXT),
    "scopes": Items(TEXT),
    "audiences": Items(TEXT),
    "username": TEXT,
    "password": TEXT,
    "subject": _OAUTH2_TOKEN,
    "actor": _OAUTH2_TOKEN,
}
_OAUTH2_ENDPOINTS: Final = Fields(
    title="the OAuth2 endpoints",
    anchor=_AUTHENTICATION,
    shapes=dict.fromkeys(("token", "revocation", "introspection"), TEXT),
    open=True,
)
_SCHEMES: Final[dict[str, Shape]] = {
    "basic": _credentials("basic", {"username": TEXT, "password": TEXT}, required=("username", "password")),
    "bearer": _credentials("bearer", {"token": TEXT}, required=("token",)),
    "digest": _credentials("digest", {"username": TEXT, "password": TEXT}, required=("username", "password")),
    "oauth2": _credentials(
        "oauth2", {**_OIDC, "endpoints": _OAUTH2_ENDPOINTS}, required=("authority", "grant")
    ),
    "oidc": _credentials("oidc", _OIDC, required=("authority", "grant")),
}
DEFINED_AUTHENTICATION: Final = Fields(
    title="an authentication policy",
    anchor=_AUTHENTICATION,
    shapes=_SCHEMES,
    choices=(Choice(tuple(_SCHEMES)),),
    open=True,
)
AUTHENTICATION: Final = Depending(
    key="use",
    present=Fields(
        title="a reference to an authentication policy",
        anchor=_AUTHENTICATION,
        shapes={"use": Word(NOT_EMPTY, section="authentications")},
    ),
    absent=Fields(
        title="an authentication policy",
        anchor=_AUTHENTICATION,
        shapes=_SCHEMES,
        choices=(Choice(tuple(_SCHEMES)),),
        synonyms={"use": "use"},
    ),
)
AUTHENTICATION_OR_NAME: Final = Kind(
    expected="the name of an authentication policy, or a mapping",
    text=Word(NOT_EMPTY, section="authentications"),
    mapping=AUTHENTICATION,
)
