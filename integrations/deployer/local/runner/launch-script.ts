export interface ScriptOptions {
  /** A program, found by the PATH of `env`, and its arguments. */
  readonly command: readonly string[]
  /** The whole environment of the program. */
  readonly env: Readonly<Record<string, string>>
  /** Processes and threads that the user may have; null sets no limit. */
  readonly maxProcesses: number | null
}

/** Names that some shell keeps for itself: it takes no value for them, or another one. */
const OF_SHELLS =
  /^(_|BASH.*|COMP_.*|DIRSTACK|EUID|EPOCH.*|FUNCNAME|GROUPS|HIST.*|IFS|LINENO|MAIL.*|OLDPWD|OPTARG|OPTERR|OPTIND|PIPESTATUS|PPID|PS\d|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID)$/

/**
 * What a shell reads from its standard input to become a program of an app. Its own environment is empty, so that nothing
 * of the app runs before the limits are set: `LD_PRELOAD` would, for one. No value is in an argument, which every user of
 * the machine may read, but for those of names that belong to shells.
 *
 * Memory is never dumped into a file. When the machine runs out of memory, apps go before the process that runs them.
 */
export function launchScript({ command, env, maxProcesses }: ScriptOptions): string {
  const names = Object.keys(env)
  const exported = names.filter(name => !OF_SHELLS.test(name))
  const others = names.filter(name => OF_SHELLS.test(name)).map(name => `${name}=${env[name]}`)
  const program = others.length === 0 ? command : ['env', ...others, ...command]
  return `ulimit -c 0
${maxProcesses === null ? '' : `ulimit -u ${maxProcesses} 2>/dev/null || ulimit -p ${maxProcesses} || exit 126`}
[ ! -w /proc/self/oom_score_adj ] || echo 500 2>/dev/null >/proc/self/oom_score_adj
unset OLDPWD
${exported.map(name => `export ${name}=${quoted(env[name]!)}`).join('\n')}
exec ${program.map(quoted).join(' ')} </dev/null
`
}

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`
