import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Config } from './config/index.ts'

type Place = Pick<Config, 'host' | 'port'>

/**
 * Detects a taken port now rather than after the database has started.
 * @throws Error with a sentence that names the setting to change
 */
export async function refuseTakenPort({ host, port }: Place): Promise<void> {
  const server = createServer()
  try {
    await once(server.listen({ host, port, exclusive: true }), 'listening')
  } catch (error) {
    throw explained(error as NodeJS.ErrnoException, { host, port })
  }
  server.close()
  await once(server, 'close')
}

function explained(error: NodeJS.ErrnoException, { host, port }: Place): Error {
  if (error.code === 'EADDRINUSE')
    return new Error(
      `port ${port} of ${host} is in use by another program: stop that program, or set PORT to another port`
    )
  if (error.code === 'EACCES')
    return new Error(`no permission to listen on port ${port}: set PORT to one from 1024 to 65535`)
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND')
    return new Error(`${host} is not an address of this machine: set HOST to one of its addresses`)
  return error
}

/**
 * The URL of a server for clients on this machine. A certificate names a host, and locally that is never an address.
 */
export function localUrl({ host, tls }: Pick<Config, 'host' | 'tls'>, port: number): string {
  if (tls !== null) return `https://localhost:${port}`
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '[::1]' }[host] ?? (host.includes(':') ? `[${host}]` : host)
  return `http://${reachable}:${port}`
}

const fileIn = (dataDir: string) => join(dataDir, 'server.json')

/**
 * Lets commands that share the directory find the server, whatever its port. @returns a function that removes the note
 */
export function noteServer(dataDir: string, url: string): () => void {
  const path = fileIn(dataDir)
  writeFileSync(path, JSON.stringify({ url, pid: process.pid }), { mode: 0o600 })
  return () => {
    if (readNote(path)?.pid === process.pid) rmSync(path, { force: true })
  }
}

/** The URL of the server that runs on this directory; undefined if none does. */
export function findServer(dataDir: string): string | undefined {
  const note = readNote(fileIn(dataDir))
  return note !== undefined && isAlive(note.pid) ? note.url : undefined
}

function readNote(path: string): { url: string; pid: number } | undefined {
  try {
    const { url, pid } = JSON.parse(readFileSync(path, 'utf8'))
    return typeof url === 'string' && Number.isInteger(pid) ? { url, pid } : undefined
  } catch {
    return undefined // there is none, or writing it was interrupted
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
