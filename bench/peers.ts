import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Contestant, type Scenario, scenarios } from './scenarios.ts'

/**
 * The scenario `ping`, compared with the same route in a typical Go service, if `go` is installed.
 * @param program the Go server, if it is already built
 */
export function peers(program = build()): Scenario {
  const ping = scenarios.find(({ name }) => name === 'ping')!
  const go: Contestant[] = program === undefined ? [] : [contestant(program)]
  return {
    name: 'peers',
    what: 'GET /api/v1/ping: bare Fastify, Fastify with its stock plugins, a usual Go service, Rhone',
    goal: null,
    contestants: [...ping.contestants.slice(0, -1), ...go, ping.contestants.at(-1)!]
  }
}

function contestant(program: string): Contestant {
  return {
    name: 'Go: chi, x/time/rate, promhttp, zerolog',
    server: () => ({ script: program, isProgram: true }),
    shot: url => ({ url: `${url}/api/v1/ping` })
  }
}

/** Builds a copy, since resolving modules changes files. */
function build(): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'rhone-peers-'))
  cpSync(join(import.meta.dirname, 'peers'), directory, { recursive: true })
  const program = join(directory, 'ping')
  try {
    execFileSync('go', ['mod', 'tidy'], { cwd: directory, stdio: 'pipe' })
    execFileSync('go', ['build', '-o', program, '.'], { cwd: directory, stdio: 'pipe' })
    return program
  } catch (error) {
    console.log(`without Go, which could not be built: ${(error as Error).message.trim()}`)
    return undefined
  }
}
