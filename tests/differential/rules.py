"""Every difference between the two, and why ours is meant. What is not here must not differ; what is here must."""

from __future__ import annotations

from dataclasses import dataclass

from differential.compare import Facet


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason, and the rows that differ for it."""

    title: str
    reason: str
    sentences: tuple[str, ...]


EVERYWHERE = {
    Facet.PLAIN_ERROR: (
        "What Envoy refuses itself it says in `text/plain`, or with an empty body. Ours is a "
        "`google.rpc.Status` in JSON with `ErrorInfo`, the field at fault and the request id: a client reads "
        "one form of error, whoever refuses (AIP-193)."
    ),
    Facet.ADDED_DETAILS: (
        "An error of the service that has no `ErrorInfo` or `RequestInfo` is given them, so that clients can "
        "always branch on a reason and name the request (AIP-193: `ErrorInfo` is required). Everything that "
        "the service sent is equal."
    ),
}

RULES = (
    Rule(
        "Empty segments count",
        "`*` matches a single path segment (`google/api/http.proto`), and RFC 3986 (3.3) makes `a//b` and "
        "`a/` other paths than `a/b` and `a`. Envoy drops empty segments before it matches, so that two URLs "
        "are one resource and a variable can hold `regions//places/oslo`.",
        (
            "a star never matches an empty segment",
            "an empty segment inside a variable",
            "a trailing slash",
            "a trailing slash after a literal",
            "a trailing slash in a rest",
        ),
    ),
    Rule(
        "An escape of a plain character is that character",
        "`%65` and `e` are equivalent in a URI (RFC 3986, 6.2.2.2), in literals and verbs as elsewhere. Only "
        "`%2F` and `%3A` are not what they stand for.",
        (
            "a literal spelt with an escape is the literal",
            "a verb spelt with an escape",
        ),
    ),
    Rule(
        "Broken escapes and text that is not UTF-8 are 400",
        "A `%` without two hexadecimal digits is no URI (RFC 3986, 2.1), and a proto3 `string` must be UTF-8. "
        "Envoy passes the first on as it is, and builds a message of the second that the service cannot "
        "parse: 500, where the client is at fault.",
        (
            "escapes that are not UTF-8",
            "escapes of a surrogate",
            "an escape of one digit",
            "an escape of no digits",
            "an escape of letters",
            "a broken escape in a query",
            "half an escape in a query",
            "escapes that are not UTF-8 in a query",
        ),
    ),
    Rule(
        "A verb exists where a template has it",
        "A colon is allowed in a segment (RFC 3986, 3.3), so `/v1/places/oslo:look` matches "
        "`/v1/places/{name}` unless a template with that verb matches. Envoy finds nothing once any template "
        "at all, of any path, has the verb: adding a method somewhere takes names away elsewhere.",
        (
            "a known verb where no template has it",
            "a known verb where a rest could take it",
        ),
    ),
    Rule(
        "HEAD, OPTIONS and wrong methods",
        "HEAD is to be answered wherever GET is (RFC 9110, 9.3.2), OPTIONS tells what a path takes (9.3.7), "
        "and a method that a path does not take is 405 with `Allow` (15.5.6). Envoy says 404 to all of them, "
        "as it does for paths that do not exist.",
        (
            "HEAD on a path with GET, DELETE and LOCK",
            "OPTIONS on a path with GET, DELETE and LOCK",
            "POST on a path with GET, DELETE and LOCK",
            "PUT on a path with GET, DELETE and LOCK",
            "PATCH on a path with GET, DELETE and LOCK",
            "TRACE on a path with GET, DELETE and LOCK",
            "GET on a path with a HEAD of its own",
            "OPTIONS on a path with a HEAD of its own",
            "POST on a path with a HEAD of its own",
            "HEAD on a path with GET and POST",
            "GET on a path with POST alone",
            "another method for a verb",
            "HEAD of a stream",
        ),
    ),
    Rule(
        "Every field has one place",
        "`google/api/http.proto` sorts the fields into those of the path, those of the body, and all others, "
        'which are the query\'s; with `body: "*"` "there is no URL query parameter". Envoy lets the query or '
        "the body overwrite what the path says (with `reject_binding_body_field_collisions` it still takes "
        "equal values), so a rule that guards a path guards nothing.",
        (
            "a parameter that the path sets",
            "a parameter that the path sets, to the same value",
            "a body that sets what the path sets to the same",
            "a parameter beside a body that is the whole",
            "a parameter that the body sets",
            "a parameter inside the body's field that it leaves out",
            "the whole request as bytes with a parameter",
            "a stream of requests beside a path",
            "a stream of requests that sets the path's field",
        ),
    ),
    Rule(
        "A body where none is bound is refused",
        'Where a rule has no `body`, "there is no HTTP request body" (`google/api/http.proto`). Envoy merges '
        "it into the request nevertheless.",
        (
            "a body where none is bound",
            "an empty object where no body is bound",
        ),
    ),
    Rule(
        "No body sets nothing",
        "A field that is bound to the body stays unset where there is no body, and a stream of requests "
        "without a body holds no requests. Envoy makes an empty message of the one, and asks for an array in "
        "the other.",
        (
            "an empty body of one field",
            "a stream of requests with an empty body",
        ),
    ),
    Rule(
        "A scalar is given once",
        "Which of two values counts differs from server to server, and what checks one of them can be passed "
        'by with the other. In `google/api/http.proto` it is a repeated field that "can be represented as '
        'multiple query parameters under the same name". Envoy takes the last.',
        (
            "a scalar given twice",
            "a scalar given twice with the same value",
            "a scalar given in both spellings",
        ),
    ),
    Rule(
        "Names without values, values without names",
        "`?tags` is the name `tags` with an empty value (WHATWG URL, urlencoded parsing); Envoy drops it. "
        "`?=a` names no field, and is refused as any name that no field has; Envoy drops it too.",
        (
            "a name without a value",
            "a pair without a name",
        ),
    ),
    Rule(
        "Numbers are JSON's",
        "In paths, queries and quoted in JSON a number has the grammar of JSON (RFC 8259, 6), and ProtoJSON "
        "takes exponents and a fraction of zero for whole numbers. Envoy takes what C's parsers take (a sign "
        "of plus, leading zeros, bare dots, hexadecimal), and refuses exponents outside of JSON as well as "
        "the least float, -3.4028235e38.",
        (
            "a number with a plus sign",
            "a number with leading zeros",
            "a number with an exponent",
            "a number with a fraction of zero",
            "an int64 with an exponent",
            "a float below zero at its bound",
            "a double with a leading dot",
            "a double with a trailing dot",
            "a double in hexadecimal",
            "JSON with a whole number as text with an exponent",
        ),
    ),
    Rule(
        "64-bit integers are exact",
        "9007199254740993.0 is a whole number that an `int64` holds. Envoy reads it as a double, and the "
        "service receives another number.",
        ("JSON with an int64 as a fraction above 2^53",),
    ),
    Rule(
        "A bool is true or false",
        "ProtoJSON knows `true` and `false`, unquoted in JSON (conformance: BoolFieldDoubleQuotedTrue must be "
        "refused). Envoy also takes `1`, `t`, `yes` and their capitals.",
        (
            "a bool in a path as a number",
            "a bool as 1",
            "a bool as 0",
            "a bool as t",
            "a bool in capitals",
            "a bool as yes",
            "JSON with a text for a bool",
        ),
    ),
    Rule(
        "Enums of proto3 are open",
        'A number that the enum does not name is kept (language guide of proto3: "unrecognized enum values '
        'will be preserved in the message"), in a query as in JSON, where Envoy takes it too. A number in '
        "quotes is no name of a value.",
        (
            "an enum by a number that it does not have",
            "an enum by a number below zero",
            "JSON with an enum by number as text",
        ),
    ),
    Rule(
        "Base64 in either alphabet",
        'ProtoJSON: "Either standard or URL-safe base64 encoding with/without paddings are accepted"; `+_+_` '
        "mixes them, and has one reading.",
        ("bytes in both alphabets",),
    ),
    Rule(
        "Well-known types have one form in JSON",
        "A field mask is written in lowerCamelCase (conformance: FieldMaskInvalidCharacter must be refused), "
        "a timestamp is a text in RFC 3339, a wrapper is the value that it wraps; minutes of "
        "`google.protobuf.Timestamp` have 60 seconds (timestamp.proto). Envoy also takes the messages' own "
        "fields, and a 61st second, which it moves to the next minute.",
        (
            "a field mask in snake case",
            "JSON with a field mask in snake case",
            "JSON with a timestamp as an object",
            "JSON with a wrapper as an object",
            "a leap second",
        ),
    ),
    Rule(
        "What a query can hold",
        'Parameters "must have a primitive type or a repeated primitive type or a non-repeated message type" '
        "(`google/api/http.proto`). So a field of a repeated message and a `google.protobuf.Value`, whose "
        "kind a text does not tell, have no form. Map entries do, `m[key]=value`: an addition, on names that "
        "otherwise are errors. At most 1,000 values and 32 levels are taken; Envoy has no such bounds.",
        (
            "a field of a repeated message",
            "a value",
            "a map's entry in brackets",
            "two entries of a map",
            "a map with whole keys",
            "more than a thousand values",
            "a parameter 33 messages deep",
        ),
    ),
    Rule(
        "Unknown fields are refused",
        'A parser of ProtoJSON "should reject unknown fields by default". Envoy has no setting for that: a '
        "misspelt field is lost without a word. `--ignore-unknown-fields` makes ours do the same.",
        (
            "an unknown field in a body",
            "an unknown field deep in a body",
            "the camel case of a json_name in a body",
            "a stream of requests with an unknown field",
        ),
    ),
    Rule(
        "A name stands once in an object",
        "Names SHOULD be unique (RFC 8259, 4), and I-JSON (RFC 7493, 2.3) forbids it: which one counts is not "
        "known. Envoy takes the last of scalars and merges messages.",
        (
            "a field in both spellings in a body",
            "a field twice in a body",
            "a message twice in a body",
        ),
    ),
    Rule(
        "JSON is RFC 8259",
        "Commas at the end, single quotes, bare names, form feeds, raw control characters, unknown escapes "
        "and `5.` are no JSON (RFC 8259, 2 to 7). Protobuf's conformance suite demands that they are refused.",
        (
            "JSON with a comma at the end",
            "JSON with a comma at the end of an array",
            "JSON in single quotes",
            "JSON with a bare name",
            "a form feed as white space",
            "JSON with a raw line end in a text",
            "JSON with a raw tab in a text",
            "JSON with an unknown escape",
            "JSON with a trailing dot",
        ),
    ),
    Rule(
        "Arrays and maps hold what they say",
        "A repeated field is an array, and nothing else; `null` is no element of it and no value of a map "
        "(ProtoJSON; conformance: RepeatedFieldWrongElementTypeExpectingIntegersGotBool and its kin, "
        "MapFieldValueIsNull and RepeatedFieldPrimitiveElementIsNull must be refused). Envoy wraps bare "
        "values, flattens arrays in arrays and drops nulls.",
        (
            "a body of a repeated number with null inside",
            "a body of a repeated message that is one",
            "JSON with a bare value for an array",
            "JSON with null in an array",
            "JSON with null in an array of messages",
            "JSON with an array in an array",
            "JSON with null in a map",
        ),
    ),
    Rule(
        "A body that is a number is answered",
        "A bare number is a JSON text (RFC 8259, 2). Envoy waits for more digits after the end of the body "
        "and never answers; here its `stream_idle_timeout` ends the request.",
        (
            "a body of a number",
            "a body of a value that is a number",
            "a body of a repeated number that is one number",
        ),
    ),
    Rule(
        "Media types and codings count",
        "A body that says it is something else is 415 (RFC 9110, 15.5.16), and one who does not take JSON is "
        "told so with 406 (15.5.7). JSON is in UTF-8 (RFC 8259, 8.1). Envoy reads every body as JSON, "
        "whatever it says, compressed ones too, and takes `application/grpc+json` for a gRPC call.",
        (
            "a body of application/json; charset=latin-1",
            "a body of text/plain",
            "a body of text/json",
            "a body of a form",
            "a body in application/grpc+json",
            "a compressed body",
            "one who wants HTML",
        ),
    ),
    Rule(
        "A body has a bound",
        "Ours takes at most `body_bytes_max`, then says 413 (RFC 9110, 15.5.14) before it has read the rest. "
        "Envoy's `max_request_body_size` bounds only what it must keep whole; JSON passes through.",
        (
            "a body beyond a megabyte",
            "a body beyond a megabyte in chunks",
        ),
    ),
    Rule(
        "PATCH fills the mask",
        "A PATCH whose body is a message says with its fields which ones are meant (AIP-134); without a mask "
        "of its own, the request's `FieldMask` is filled with them, as grpc-gateway does. Envoy leaves it, "
        "and the service cannot tell a field set to zero from one that was not named.",
        (
            "a body that PATCH's mask is made of",
            "a body of PATCH with nulls",
            "a body of PATCH with a map",
            "an empty object of PATCH",
            "PATCH with an empty mask",
            "PATCH with another parameter",
        ),
    ),
    Rule(
        "response_body is served",
        "`google/api/http.proto`: the field that `response_body` names is the answer's body, in additional "
        "bindings too. Envoy refuses to start with one that is not an `HttpBody`, and overlooks every one "
        "that stands in an additional binding.",
        (
            "response_body of a message",
            "response_body of a message that is unset",
            "response_body of a text",
            "response_body of a number",
            "response_body of repeated numbers",
            "response_body of repeated numbers without any",
            "response_body of repeated messages",
            "response_body of repeated messages without any",
            "response_body of a map",
            "response_body of a timestamp",
            "a body of bytes that comes back",
        ),
    ),
    Rule(
        "A float is written in its shortest form",
        "3.4028235e+38 and 3.40282347e+38 are the same `float`; ours writes the fewest digits that lead back to it.",
        ("a great float is written",),
    ),
    Rule(
        "A failed stream never looks complete",
        "A stream that fails after its first message shows the error as its last item and breaks off: no "
        "closing bracket and no last chunk (RFC 9112, 8: an incomplete message). Envoy closes bracket and "
        "body as if all had come, and the error is lost.",
        (
            "a stream of bytes that fails",
            "a stream that fails after two messages, array",
            "a stream that fails after two messages, ndjson",
            "a stream that fails after two messages, events",
            "streams both ways that fail",
        ),
    ),
    Rule(
        "Framings are named, and events end",
        "A JSON object a line is `application/x-ndjson` and not `application/json` (RFC 8259, 2: a JSON text "
        "is one value). An event `end` lets a browser close its EventSource, which would open a finished "
        "stream again for ever (HTML, 9.2.3).",
        (
            "a stream of three messages, ndjson",
            "a stream of one message, ndjson",
            "a stream without a message, ndjson",
            "a stream of three messages, events",
            "a stream of one message, events",
            "a stream without a message, events",
        ),
    ),
    Rule(
        "Errors in HTTP's own words",
        "401 has `WWW-Authenticate` (RFC 9110, 11.6.1: MUST), `RetryInfo` is also `Retry-After` (10.2.3). "
        "Details whose type nobody knows are passed on; with one of them Envoy drops the whole error, text "
        "and all.",
        (
            "an error of the service, code 16",
            "an error with details",
            "an error with details that nobody knows",
            "a shortage with details",
        ),
    ),
    Rule(
        "Deadlines and headers",
        "The service is told by when the answer is wanted, also where the client names no time; Envoy stops "
        "waiting after its route's timeout and the service works on. A deadline that cannot be read is 400, "
        "not the service's 500. Only the headers that a setting names go on as metadata; with Envoy all do, so "
        "that a client can tell the service what only the gateway should.",
        (
            "no deadline",
            "a deadline that is none",
            "a header that no setting names",
        ),
    ),
)
