"""Shell completion: ``eegzarr completion bash``."""

from __future__ import annotations

from typing import Literal

from eegzarr.cli.run import Command


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a script that completes eegzarr's commands in a shell.

    Put it where your shell looks for completions, once for each new version of eegzarr.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from eegzarr.command import whole_app

    print(whole_app().generate_completion(prog_name="eegzarr", shell=shell))
    return 0


main = Command(
    "eegzarr.completion",
    completion,
    again="",
    epilogue="bash: eegzarr completion bash > ~/.local/share/bash-completion/completions/eegzarr\n\n"
    "zsh: eegzarr completion zsh > ~/.zfunc/_eegzarr, with fpath+=~/.zfunc before compinit in ~/.zshrc\n\n"
    "fish: eegzarr completion fish > ~/.config/fish/completions/eegzarr.fish",
)

if __name__ == "__main__":
    raise SystemExit(main())
