"""How people of a private workforce sign in: a Cognito user pool, its client and its domain.

https://docs.aws.amazon.com/sagemaker/latest/dg/sms-workforce-create-private-cognito.html
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gtlabel.errors import WorkforceError

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_cognito_idp.type_defs import PaginatorConfigTypeDef

POOL_NAME = "gtlabel-workers"

_PAGE: PaginatorConfigTypeDef = {"PageSize": 60}


def domain_name(account: str, region: str) -> str:
    """The domain of the pool that gtlabel makes: unique in the world, and no word of whose it is.

    https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html
    """
    return f"gtlabel-{sha256(f'{account}/{region}'.encode()).hexdigest()[:16]}"


def _changeable(portal: str) -> Any:
    """What of a pool may change: who makes users, and what these are written."""
    where = f" Sign in at {portal}" if portal else ""
    words = "Your user name is {username} and your temporary password is {####}."
    return {
        "AutoVerifiedAttributes": ["email"],
        "AdminCreateUserConfig": {
            "AllowAdminCreateUserOnly": True,
            "InviteMessageTemplate": {
                "EmailSubject": "You are invited to label pictures",
                "EmailMessage": words + where,
            },
        },
    }


def _client_request(portal: str = "") -> dict[str, Any]:
    """How the portal signs people in.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sms-workforce-create-private-cognito.html
    """
    request: dict[str, Any] = {
        "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_SRP_AUTH"],
        "SupportedIdentityProviders": ["COGNITO"],
    }
    if portal:
        request |= {
            "CallbackURLs": [f"{portal}/oauth2/idpresponse"],
            "LogoutURLs": [f"{portal}/logout"],
            "AllowedOAuthFlows": ["code", "implicit"],
            "AllowedOAuthFlowsUserPoolClient": True,
            "AllowedOAuthScopes": ["email", "openid", "profile"],
        }
    return request


def find_pool(cognito: CognitoIdentityProviderClient) -> str | None:
    """The pool that an earlier run made and left without a workforce."""
    for page in cognito.get_paginator("list_user_pools").paginate(PaginationConfig=_PAGE):
        for pool in page["UserPools"]:
            if pool.get("Name") == POOL_NAME:
                return pool["Id"]
    return None


def domain_of(cognito: CognitoIdentityProviderClient, pool: str) -> str | None:
    """The domain of a pool; None when it has none.

    Raises:
        WorkforceError: if there is no such pool.
    """
    try:
        found = cognito.describe_user_pool(UserPoolId=pool)["UserPool"]
    except cognito.exceptions.ResourceNotFoundException as error:
        raise WorkforceError(
            f"the user pool {pool} of the workforce does not exist any more, so nobody can sign in; "
            "delete the teams and the workforce, and run this again"
        ) from error
    return found.get("Domain") or found.get("CustomDomain")


def find_client(cognito: CognitoIdentityProviderClient, pool: str) -> str | None:
    """The client that an earlier run made in a pool."""
    for page in cognito.get_paginator("list_user_pool_clients").paginate(
        UserPoolId=pool, PaginationConfig=_PAGE
    ):
        for client in page["UserPoolClients"]:
            if client.get("ClientName") == POOL_NAME:
                return client["ClientId"]
    return None


def create_pool(cognito: CognitoIdentityProviderClient) -> str:
    """Make a pool and return its id."""
    answer = cognito.create_user_pool(
        PoolName=POOL_NAME,
        UsernameAttributes=["email"],
        UsernameConfiguration={"CaseSensitive": False},
        **_changeable(""),
    )
    return answer["UserPool"]["Id"]


def create_client(cognito: CognitoIdentityProviderClient, pool: str) -> str:
    """Make a client with a secret, which the portal needs, and return its id."""
    answer = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName=POOL_NAME, GenerateSecret=True, **_client_request()
    )
    return answer["UserPoolClient"]["ClientId"]


def write_portal(cognito: CognitoIdentityProviderClient, pool: str, portal: str) -> None:
    """Put the portal's address into the invitations of a pool of ours; others' stay as they are."""
    found = cognito.describe_user_pool(UserPoolId=pool)["UserPool"]
    template = found.get("AdminCreateUserConfig", {}).get("InviteMessageTemplate", {})
    if found.get("Name") == POOL_NAME and portal not in template.get("EmailMessage", ""):
        # A change sets back whatever it does not say; of our pools it says all there is.
        cognito.update_user_pool(UserPoolId=pool, **_changeable(portal))


def lead_back(cognito: CognitoIdentityProviderClient, pool: str, client: str, portal: str) -> None:
    """Let people come back to the portal from signing in; its address is known once it is there."""
    wanted = _client_request(portal)
    found: Mapping[str, Any] = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=client)[
        "UserPoolClient"
    ]
    # A client that somebody set up is left as it is, as long as it leads back.
    if wanted["CallbackURLs"][0] in found.get("CallbackURLs", ()):
        return
    merged = {name: found.get(name) or value for name, value in wanted.items()}
    for name in ("CallbackURLs", "LogoutURLs"):
        merged[name] = sorted({*found.get(name, ()), *wanted[name]})
    cognito.update_user_pool_client(UserPoolId=pool, ClientId=client, **_kept(found), **merged)


def _kept(client: Mapping[str, Any]) -> dict[str, Any]:
    """What a change of a client would set back to its default, were it not said again."""
    names = (
        "ClientName",
        "RefreshTokenValidity",
        "AccessTokenValidity",
        "IdTokenValidity",
        "TokenValidityUnits",
        "ReadAttributes",
        "WriteAttributes",
        "PreventUserExistenceErrors",
        "EnableTokenRevocation",
    )
    return {name: client[name] for name in names if name in client}
