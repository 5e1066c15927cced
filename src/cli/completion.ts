import { type Command, defineCommand, UsageError } from './command.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]
const isShell = (text: string): text is Shell => SHELLS.includes(text as Shell)

/** Options of every command, as `main` adds them. */
const COMMON = ['help', 'url', 'token']

/** @param all the commands, which include this one */
export function completionOf(all: () => readonly Command[]): Command {
  return defineCommand({
    name: 'completion',
    summary: 'Print the completion script for bash, zsh or fish.',
    examples: [
      'rhone completion bash > ~/.local/share/bash-completion/completions/rhone',
      'rhone completion zsh > ~/.zfunc/_rhone',
      'rhone completion fish > ~/.config/fish/completions/rhone.fish'
    ],
    args: ['<shell>'],
    forDeployers: true,
    async run({ args, write }) {
      const [shell = ''] = args
      if (!isShell(shell)) throw new UsageError(`"${shell}" is none of ${SHELLS.join(', ')}`)
      await write(SCRIPTS[shell](all()))
      return undefined
    }
  })
}

const SCRIPTS: Readonly<Record<Shell, (commands: readonly Command[]) => string>> = { bash, zsh, fish }

interface Word {
  readonly word: string
  readonly summary: string
}

/** The first words of all commands; a group is described by its commands. */
function firstWords(commands: readonly Command[]): Word[] {
  const words = new Map<string, string>()
  for (const { name, summary } of commands) {
    const [first = '', second] = name.split(' ')
    const before = words.get(first)
    words.set(first, second === undefined ? summary : before === undefined ? second : `${before}, ${second}`)
  }
  return [...words].map(([word, summary]) => ({ word, summary }))
}

/** The second words after each first one that has any. */
function groups(commands: readonly Command[]): [string, Word[]][] {
  const found = new Map<string, Word[]>()
  for (const { name, summary } of commands) {
    const [first = '', second] = name.split(' ')
    if (second !== undefined) found.set(first, [...(found.get(first) ?? []), { word: second, summary }])
  }
  return [...found]
}

function flagsOf({ options = {}, printsData }: Command): string[] {
  return [...Object.keys(options), ...(printsData ? ['json'] : []), ...COMMON].map(name => `--${name}`)
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`
const list = (words: readonly Word[]) => words.map(({ word }) => word).join(' ')

function bash(commands: readonly Command[]): string {
  const seconds = groups(commands).map(([first, words]) => `    ${first}) words=${quoted(list(words))} ;;`)
  const flags = commands.map(command => `    ${quoted(command.name)}) words=${quoted(flagsOf(command).join(' '))} ;;`)
  return `# Completion of rhone for bash.
_rhone() {
  local current=\${COMP_WORDS[COMP_CWORD]} words='' name
  if ((COMP_CWORD == 1)); then
    words=${quoted(list(firstWords(commands)))}
  elif ((COMP_CWORD == 2)) && [[ $current != -* ]]; then
    case \${COMP_WORDS[1]} in
${seconds.join('\n')}
    esac
  fi
  if [[ $current == -* ]]; then
    for name in "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" "\${COMP_WORDS[1]}"; do
      case $name in
${flags.map(line => `  ${line}`).join('\n')}
      esac
      [[ -n $words ]] && break
    done
  fi
  if [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _rhone rhone
`
}

function zsh(commands: readonly Command[]): string {
  const described = (words: readonly Word[]) =>
    words.map(({ word, summary }) => quoted(`${word}:${summary.replaceAll(':', '\\:')}`)).join(' ')
  const seconds = groups(commands).map(([first, words]) => `      ${first}) words=(${described(words)}) ;;`)
  const flags = commands.map(command => `      ${quoted(command.name)}) flags=(${flagsOf(command).join(' ')}) ;;`)
  return `#compdef rhone
# Completion of rhone for zsh.
_rhone() {
  local -a words_ flags
  local name
  if ((CURRENT == 2)); then
    words_=(${described(firstWords(commands))})
  elif ((CURRENT == 3)) && [[ $words[CURRENT] != -* ]]; then
    local -a found
    case $words[2] in
${seconds.map(line => line.replace('words=(', 'found=(')).join('\n')}
    esac
    words_=($found)
  fi
  if [[ $words[CURRENT] == -* ]]; then
    for name in "$words[2] $words[3]" "$words[2]"; do
      case $name in
${flags.join('\n')}
      esac
      (($#flags)) && break
    done
  fi
  if (($#flags)); then
    compadd -- $flags
  elif (($#words_)); then
    _describe command words_
  else
    _files
  fi
}
compdef _rhone rhone
`
}

function fish(commands: readonly Command[]): string {
  const lines = firstWords(commands).map(
    ({ word, summary }) => `complete -c rhone -f -n __fish_use_subcommand -a ${word} -d ${fishQuoted(summary)}`
  )
  for (const [first, words] of groups(commands)) {
    const isBare = `__fish_seen_subcommand_from ${first}; and not __fish_seen_subcommand_from ${list(words)}`
    for (const { word, summary } of words)
      lines.push(`complete -c rhone -f -n '${isBare}' -a ${word} -d ${fishQuoted(summary)}`)
  }
  for (const { name, options = {}, printsData } of commands) {
    const isChosen = name
      .split(' ')
      .map(word => `__fish_seen_subcommand_from ${word}`)
      .join('; and ')
    for (const [option, { description, type, short }] of Object.entries(options)) {
      const letter = short === undefined ? '' : ` -s ${short}`
      const value = type === 'string' ? ' -r' : ''
      lines.push(`complete -c rhone -n '${isChosen}' -l ${option}${letter}${value} -d ${fishQuoted(description)}`)
    }
    if (printsData) lines.push(`complete -c rhone -n '${isChosen}' -l json -d 'Print the data as JSON.'`)
  }
  return `# Completion of rhone for fish.\n${lines.join('\n')}\n`
}

const fishQuoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
