import { listAll } from './client.ts'
import { type Command, defineCommand, UsageError } from './command.ts'
import { connect, type Host } from './connect.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]
const isShell = (text: string): text is Shell => SHELLS.includes(text as Shell)

/** The word that completion scripts pass in place of a shell to get the names of apps. */
const APPS = 'apps'

async function slugs(host: Host): Promise<string[]> {
  return (await listAll<{ slug: string }>(await connect(host), '/api/v1/apps')).map(({ slug }) => slug)
}

/** Whether an app is a command's first argument. */
const takesApp = ({ args = [] }: Command) => /^[<[]app[\]>]$/.test(args[0] ?? '')

/** Options that `main` adds to every command. */
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
    async run(input) {
      const [shell = ''] = input.args
      if (shell === APPS) return { data: undefined, text: (await slugs(input)).join('\n') }
      if (!isShell(shell)) throw new UsageError(`"${shell}" is not one of ${SHELLS.join(', ')}`)
      await input.write(SCRIPTS[shell](all()))
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

/** The second words after each first word that has any. */
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

/** Patterns of a `case`: a group alone means its list. */
const patternOf = ({ name }: Command) =>
  name.endsWith(' list') ? `${quoted(name)}|${quoted(name.slice(0, -' list'.length))}` : quoted(name)

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`
const list = (words: readonly Word[]) => words.map(({ word }) => word).join(' ')

/** The commands whose next argument is an app, as a `case` pattern. */
const alternatives = (commands: readonly Command[]) =>
  commands
    .filter(takesApp)
    .map(({ name }) => `'${name}'`)
    .join('|')

function bash(commands: readonly Command[]): string {
  const seconds = groups(commands).map(([first, words]) => `    ${first}) words=${quoted(list(words))} ;;`)
  const flags = commands.map(command => `    ${patternOf(command)}) words=${quoted(flagsOf(command).join(' '))} ;;`)
  return `# Completion of rhone for bash.
_rhone() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} words='' name
  if [[ $before == --app || $before == -a ]]; then
    words=$(rhone completion apps 2> /dev/null)
  elif ((COMP_CWORD == 1)); then
    words=${quoted(list(firstWords(commands)))}
  elif ((COMP_CWORD == 2)) && [[ $current != -* ]]; then
    case \${COMP_WORDS[1]} in
${seconds.join('\n')}
    esac
  fi
  if [[ $current != -* && -z $words ]]; then
    case "\${COMP_WORDS[*]:1:COMP_CWORD-1}" in
      ${alternatives(commands)}) words=$(rhone completion apps 2> /dev/null) ;;
    esac
  elif [[ $current == -* ]]; then
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
  const flags = commands.map(command => `      ${patternOf(command)}) flags=(${flagsOf(command).join(' ')}) ;;`)
  return `#compdef rhone
# Completion of rhone for zsh.
_rhone() {
  local -a words_ flags apps
  local name
  if [[ $words[CURRENT-1] == --app || $words[CURRENT-1] == -a ]]; then
    apps=(\${(f)"$(rhone completion apps 2> /dev/null)"})
    compadd -- $apps
    return
  fi
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
  if [[ $words[CURRENT] != -* ]]; then
    case "\${words[2,CURRENT-1]}" in
      ${alternatives(commands)}) apps=(\${(f)"$(rhone completion apps 2> /dev/null)"}) ;;
    esac
  fi
  if (($#flags)); then
    compadd -- $flags
  elif (($#apps)); then
    compadd -- $apps
  elif (($#words_)); then
    _describe command words_
  else
    _files
  fi
}
# Zsh runs this file in place of the function for the first completion.
if [[ $funcstack[1] == _rhone ]]; then
  _rhone "$@"
else
  compdef _rhone rhone
fi
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
  for (const command of commands) {
    const { name, options = {}, printsData } = command
    const isChosen = name
      .split(' ')
      .map(word => `__fish_seen_subcommand_from ${word}`)
      .join('; and ')
    if (takesApp(command))
      lines.push(`complete -c rhone -f -n '${isChosen}' -a '(rhone completion apps 2> /dev/null)' -d App`)
    for (const [option, { description, type, short }] of Object.entries(options)) {
      const letter = short === undefined ? '' : ` -s ${short}`
      const value = type === 'string' ? ' -r' : ''
      const apps = option === 'app' ? ` -f -a '(rhone completion apps 2> /dev/null)'` : ''
      lines.push(
        `complete -c rhone -n '${isChosen}' -l ${option}${letter}${value}${apps} -d ${fishQuoted(description)}`
      )
    }
    if (printsData) lines.push(`complete -c rhone -n '${isChosen}' -l json -d 'Print the data as JSON.'`)
  }
  for (const option of COMMON) lines.push(`complete -c rhone -l ${option}${option === 'help' ? '' : ' -r'}`)
  return `# Completion of rhone for fish.\n${lines.join('\n')}\n`
}

const fishQuoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
