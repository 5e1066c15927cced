export interface ScriptOptions {
  /** A program, found on the PATH of `env`, and its arguments. */
  readonly command: readonly string[]
  /** The program's complete environment. */
  readonly env: Readonly<Record<string, string>>
  /** Process and thread limit of the user; null sets none. */
  readonly maxProcesses: number | null
}

/** Variables that some shell reserves: it rejects or changes their values. */
const OF_SHELLS =
  /^(_|BASH.*|COMP_.*|DIRSTACK|EUID|EPOCH.*|FUNCNAME|GROUPS|HIST.*|IFS|LINENO|MAIL.*|OLDPWD|OPTARG|OPTERR|OPTIND|PIPESTATUS|PPID|PS\d|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID)$/

/**
 * The script that a shell reads from standard input to become an app's program. The shell's own environment is empty,
 * so that nothing of the app, such as `LD_PRELOAD`, takes effect before the limits are set. Values are kept out of the
 * arguments, which every user of the machine can read, except for variables that shells reserve.
 *
 * Core dumps are disabled. When the machine runs out of memory, apps are killed before the runner.
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
