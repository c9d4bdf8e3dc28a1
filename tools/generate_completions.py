"""Write the completions of bash, zsh and fish for `ocifw`. For packages; nothing of it is in the repository.

    python3 tools/generate_completions.py FOLDER

They are made from the tables that options are read by. Containers are completed by `ocifw list --quiet`, and the
subcommands of verbs that have some from their USAGE.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "core" / "src"))

from ocifw import cli  # noqa: E402 - the checkout's, whatever is installed
from ocifw.commands import VERBS  # noqa: E402
from ocifw.options import FLAG, HELP, Option  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

MADE = "Made from the tables of options by tools/generate_completions.py."
VERB_HELP = "show this help, or that of a command"
# Of options without a value that is a file's name.
VALUES = {
    "log-format": ("text", "json"),
    "cgroup-manager": ("cgroupfs", "systemd", "disabled"),
    "rootless": ("true", "false", "auto"),
}


def shown(table: Iterable[Option]) -> list[Option]:
    """The options that are completed."""
    return [option for option in [*table, HELP] if not option.hidden]


def words(table: Iterable[Option]) -> str:
    """All spellings of options, with a blank between."""
    return " ".join(
        word
        for option in shown(table)
        for word in [f"--{option.name}"] + [f"-{option.short}"] * bool(option.short)
    )


def takes_container(verb: str) -> bool:
    """Whether the first argument is a container that exists."""
    usage = cli.command(verb).USAGE
    return usage.startswith("<container-id>") and verb not in ("create", "run", "restore")


def subcommands(verb: str) -> list[str]:
    """`list` and `show` of the usage `list | show <plugin>`."""
    usage = cli.command(verb).USAGE
    if " | " not in usage:
        return []
    firsts = [part.split()[0] for part in usage.split(" | ") if part.split()]
    return [word for word in firsts if re.fullmatch(r"[a-z][a-z-]*", word)]


def spellings(table: Iterable[Option]) -> list[str]:
    """The spellings of options that want a value after them."""
    wanted = [option for option in shown(table) if option.kind != FLAG]
    return [
        word
        for option in wanted
        for word in [f"--{option.name}"] + [f"-{option.short}"] * bool(option.short)
    ]


def bash() -> str:
    """The completion of bash(1): a function that fills COMPREPLY."""
    values = "".join(
        f'    --{name}) COMPREPLY=($(compgen -W "{" ".join(known)}" -- "$cur")); return ;;\n'
        for name, known in VALUES.items()
    )
    cases = ""
    for verb in VERBS:
        argument = '$(ocifw list --quiet 2>/dev/null)' if takes_container(verb) else " ".join(subcommands(verb))  # fmt: skip
        cases += f"    {verb})\n        options='{words(cli.command(verb).OPTIONS)}'\n"
        cases += f'        arguments="{argument}"\n        ;;\n' if argument else "        ;;\n"
    takers = "|".join(spellings(cli.OPTIONS))
    return f"""\
# bash completion for ocifw(8). {MADE}

_ocifw() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} verb= index=1 options arguments=
    COMPREPLY=()
    case $prev in
{values}    esac
    while ((index < COMP_CWORD)); do
        case ${{COMP_WORDS[index]}} in
        {takers}) index=$((index + 1)) ;;
        -*) ;;
        *)
            verb=${{COMP_WORDS[index]}}
            break
            ;;
        esac
        index=$((index + 1))
    done
    case $verb in
    "")
        options='{words(cli.OPTIONS)}'
        arguments='{" ".join(VERBS)} help'
        ;;
    help)
        options=
        arguments='{" ".join(VERBS)}'
        ;;
{cases}    *) return ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    elif [[ -n $arguments ]]; then
        COMPREPLY=($(compgen -W "$arguments" -- "$cur"))
    fi
}}

complete -o default -F _ocifw ocifw
"""


def zsh_option(option: Option) -> str:
    """A specification of _arguments, quoted."""
    text = re.sub(r"([\[\]:\\])", r"\\\1", option.help).replace("'", "'\\''")
    names = [f"--{option.name}"] + [f"-{option.short}"] * bool(option.short)
    if option.kind == FLAG:
        tail = ""
    elif option.name in VALUES:
        tail = f":value:({' '.join(VALUES[option.name])})"
    else:
        tail = ":value:_files"
    return " ".join(f"'*{name}[{text}]{tail}'" for name in names)


def zsh() -> str:
    """The completion of zsh(1): zshcompsys's _arguments."""
    verbs = "".join(
        f"        '{verb}:{cli.command(verb).SUMMARY.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'\n"
        for verb in VERBS
    ) + f"        'help:{VERB_HELP}'\n"  # fmt: skip
    cases = ""
    for verb in VERBS:
        lines = [f"            {zsh_option(option)}" for option in shown(cli.command(verb).OPTIONS)]
        if takes_container(verb):
            lines.append("            '1:container:_ocifw_containers'")
        elif subcommands(verb):
            lines.append(f"            '1:command:({' '.join(subcommands(verb))})'")
        lines.append("            '*:argument:_files'")
        cases += f"    {verb})\n        _arguments \\\n" + " \\\n".join(lines) + "\n        ;;\n"
    globals_ = " \\\n".join(f"        {zsh_option(option)}" for option in shown(cli.OPTIONS))
    return f"""\
#compdef ocifw
# {MADE}

_ocifw_containers() {{
    local -a containers
    containers=(${{(f)"$(ocifw list --quiet 2>/dev/null)"}})
    compadd -a containers
}}

_ocifw() {{
    local curcontext=$curcontext state line
    local -a verbs
    verbs=(
{verbs}    )
    _arguments -C \\
{globals_} \\
        '1:command:->verb' '*::argument:->rest' && return
    if [[ $state == verb ]]; then
        _describe command verbs
        return
    fi
    curcontext=${{curcontext%:*}}-$line[1]:
    case $line[1] in
    help) _describe command verbs ;;
{cases}    esac
}}

_ocifw "$@"
"""


def fish_option(option: Option, condition: str) -> str:
    """One line of complete."""
    quoted = option.help.replace("\\", "\\\\").replace("'", "\\'")
    line = f"complete -c ocifw -n '{condition}' -l {option.name}"
    line += f" -s {option.short}" if option.short else ""
    line += "" if option.kind == FLAG else " -r"
    if option.name in VALUES:
        line += f" -x -a '{' '.join(VALUES[option.name])}'"
    return f"{line} -d '{quoted}'\n"


def fish() -> str:
    """The completion of fish(1)."""
    text = (
        f"# fish completion for ocifw(8). {MADE}\n\ncomplete -c ocifw -n __fish_use_subcommand -f\n"
    )
    for option in shown(cli.OPTIONS):
        text += fish_option(option, "__fish_use_subcommand")
    for verb in [*VERBS, "help"]:
        summary = VERB_HELP if verb == "help" else cli.command(verb).SUMMARY
        summary = summary.replace("'", "\\'")
        text += f"complete -c ocifw -n __fish_use_subcommand -a {verb} -d '{summary}'\n"
    text += f"complete -c ocifw -n '__fish_seen_subcommand_from help' -f -a '{' '.join(VERBS)}'\n"
    for verb in VERBS:
        condition = f"__fish_seen_subcommand_from {verb}"
        for option in shown(cli.command(verb).OPTIONS):
            text += fish_option(option, condition)
        if takes_container(verb):
            text += f"complete -c ocifw -n '{condition}' -f -a '(ocifw list --quiet 2>/dev/null)'\n"
        elif subcommands(verb):
            text += f"complete -c ocifw -n '{condition}' -f -a '{' '.join(subcommands(verb))}'\n"
    return text


def main(arguments: list[str]) -> int:
    """Write all three, under the names that the shells look for."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("ocifw", bash()), ("_ocifw", zsh()), ("ocifw.fish", fish())):
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if len(sys.argv) == 2 else __doc__)
