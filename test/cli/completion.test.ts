import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { commands } from '../../src/cli/index.ts'
import { scratchDirectory } from '../support/repository.ts'
import { rhone } from '../support/rhone.ts'

const run = promisify(execFile)
/** Milliseconds for a shell to start and to answer, on a busy machine. */
const PATIENCE = 60_000

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** Typed input, and its completions. */
const TYPED: readonly (readonly [line: string, words: readonly string[]])[] = [
  ['rhone deplo', ['deploy', 'deployments']],
  ['rhone regions s', ['set', 'show']],
  ['rhone env ', ['import', 'list', 'set', 'unset']],
  ['rhone deploy --d', ['--detach']],
  ['rhone env set --b', ['--build-time']],
  ['rhone apps --u', ['--url']],
  ['rhone deploy ', ['blog', 'shop']],
  ['rhone env set ', ['blog', 'shop']],
  ['rhone deployments list ', ['blog', 'shop']],
  ['rhone rollback -d --app ', ['blog', 'shop']],
  ['rhone logs -a ', ['blog', 'shop']],
  ['rhone logs sh', ['shop']]
]

const scriptOf = async (shell: Shell) => (await rhone(['completion', shell])).stdout

describe('completion', () => {
  for (const shell of SHELLS) {
    const skip = spawnSync(shell, ['-c', 'exit']).error !== undefined && `${shell} is not installed`

    it(`completes commands, options and the names of apps in ${shell}`, { skip }, async t => {
      const found = await COMPLETE[shell](
        t,
        TYPED.map(([line]) => line)
      )
      assert.deepEqual(
        found.map((words, at) => [TYPED[at]![0], words]),
        TYPED
      )
    })
  }

  it('names every command in every shell', async () => {
    for (const shell of SHELLS) {
      const script = await scriptOf(shell)
      for (const { name } of commands)
        for (const word of name.split(' ')) assert.ok(script.includes(word), `${shell}: ${word}`)
    }
  })
})

type Complete = (t: TestContext, lines: readonly string[]) => Promise<string[][]>

/** The completions of a shell for each line, in alphabetical order, with a program that knows two apps. */
const COMPLETE: Readonly<Record<Shell, Complete>> = {
  async bash(_t, lines) {
    const asked = lines.map(line => {
      const words = line.split(' ')
      return `COMP_WORDS=(${words.map(quoted).join(' ')}); COMP_CWORD=${words.length - 1}; COMPREPLY=(); _rhone; printf '%s\n' "\${COMPREPLY[@]}"; echo =`
    })
    const program = `rhone() { [[ $* == 'completion apps' ]] && echo 'blog shop'; }`
    return answersIn((await shell('bash', ['-c', [await scriptOf('bash'), program, ...asked].join('\n')])).stdout)
  },

  async fish(t, lines) {
    const path = join(await scratchDirectory(t, 'rhone-fish-'), 'rhone.fish')
    await writeFile(path, await scriptOf('fish'))
    const program = `function rhone; test "$argv" = 'completion apps'; and printf 'blog\\nshop\\n'; end`
    const asked = lines.map(line => `complete -C ${quoted(line)}; echo =`)
    return answersIn(
      (await shell('fish', ['--no-config', '-c', [program, `source ${path}`, ...asked].join('\n')])).stdout
    )
  },

  /** On a separate terminal, with the script installed as the help says, so that completion works from the first key. */
  async zsh(t, lines) {
    const place = await scratchDirectory(t, 'rhone-zsh-')
    await mkdir(join(place, 'functions'))
    await writeFile(join(place, 'functions/_rhone'), await scriptOf('zsh'))
    await writeFile(join(place, '.zshrc'), ZSHRC)
    const { stdout } = await shell('zsh', ['-f', '-c', ON_A_TERMINAL, 'zsh', ...lines], { ZDOTDIR: place })
    return answersIn(stdout)
  }
}

/** Prints the completions, and clears the line. */
const ZSHRC = `
PROMPT= PS2=
fpath=($ZDOTDIR/functions $fpath)
autoload -Uz compinit && compinit -D -u
rhone() { [[ $* == 'completion apps' ]] && print -l blog shop }
compadd() { local -a hits; builtin compadd -O hits "$@"; print -rl -- '' hit:$^hits }
tell() { print; zle list-choices; print -r -- '' end:; zle kill-buffer }
zle -N tell
bindkey '^I' tell
print ready:
`
const ON_A_TERMINAL = String.raw`
zmodload zsh/zpty
zpty shell zsh -d -i
zpty -r shell said '*ready:*'
for line; do
  zpty -w -n shell $line$'\t'
  zpty -r shell said '*end:*'
  print -r -- $said | tr -d '\r' | sed -n 's/^hit://p'
  print =
done
`

const quoted = (text: string) => `'${text}'`

function shell(name: Shell, args: readonly string[], more: Readonly<Record<string, string>> = {}) {
  const env = { PATH: process.env.PATH, HOME: '/nonexistent', TERM: 'dumb', LANG: 'C.UTF-8', ...more }
  return run(name, [...args], { env, timeout: PATIENCE })
}

/** The answers, each followed by an end line; fish adds an explanation to each word after a tab. */
function answersIn(text: string): string[][] {
  const answers = text.split('=\n').slice(0, -1)
  return answers.map(answer => {
    const words = answer.split('\n').filter(line => line !== '')
    return [...new Set(words.map(word => word.split('\t', 1)[0]!))].toSorted()
  })
}
