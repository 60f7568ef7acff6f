"""YAML whose numbers, dates and yes and no are the texts that they are written as."""

from __future__ import annotations

from functools import lru_cache

from c2sflow.common.errors import UserError


@lru_cache(1)
def text_loader() -> type:
    """PyYAML's safe loader that takes numbers, dates and yes and no for the texts they are."""
    import yaml

    class TextLoader(yaml.SafeLoader):
        """Knows null alone."""

    TextLoader.yaml_implicit_resolvers = {
        letter: [(tag, form) for tag, form in known if tag == "tag:yaml.org,2002:null"]
        for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return TextLoader


def read_yaml(text: str, where: str) -> tuple[object, list[int], list[str]]:
    """The content of a YAML document, and where the entries of its list are.

    Parameters
    ----------
    text
        YAML, or JSON, which is YAML too.
    where
        What a message calls the file.

    Returns
    -------
    The content, its scalars as texts (null as None); the line of each entry, if it is a list; and
    a fault for each key that an entry has twice, of which YAML's readers keep the last in silence.

    Raises
    ------
    UserError
        If it is no YAML.
    """
    import yaml

    loader = text_loader()(text)
    try:
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise UserError(f"{where}: cannot be read as YAML: {reason}") from None
    except (RecursionError, TypeError, ValueError):  # nested too deeply; a list as a key
        raise UserError(f"{where}: cannot be read as YAML: it is nested in an odd way") from None
    finally:
        loader.dispose()
    if not isinstance(node, yaml.SequenceNode):
        return content, [], []
    lines, faults = [], []
    for item in node.value:
        lines.append(item.start_mark.line + 1)
        keys = [key for key, _ in item.value] if isinstance(item, yaml.MappingNode) else []
        names = [str(key.value) for key in keys]
        faults += [
            f"{where}, line {key.start_mark.line + 1}: the entry has {name!r} twice"
            for place, (key, name) in enumerate(zip(keys, names, strict=True))
            if name in names[:place]
        ]
    return content, lines, faults
