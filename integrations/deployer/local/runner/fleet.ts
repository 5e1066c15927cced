import { setTimeout as delay } from 'node:timers/promises'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { APP_DIRECTORY, imagePath, readManifest } from '../../../../plugins/lib/local-image.ts'
import { OwnedProcesses, usageOf } from '../../../../plugins/lib/owned-processes.ts'
import { readProcessTable } from '../../../../plugins/lib/process-table.ts'
import type { ProcessIdentity } from '../../../../plugins/lib/processes.ts'
import { removeTree } from '../../../../plugins/lib/remove-tree.ts'
import { appDirectory, type Layout } from '../layout.ts'
import type { AppName, MetricsReply, RetireRequest, RunningReply, ServeRequest, StartRequest } from '../protocol.ts'
import { clearTraces, closeImage, findAccount, openHome, releaseAccount } from './account.ts'
import { StartFailure } from './app-process.ts'
import { memoryInFiles, sizeOfTree } from './footprint.ts'
import { AppLog } from './log.ts'
import { Meter } from './meter.ts'
import { markOf } from './records.ts'
import { LocalRelease, type ReleaseSpec } from './release.ts'

/** An app on this machine, running or not, with its log and metrics. */
export interface App {
  readonly id: string
  slug: string
  /** By deployment id. */
  readonly releases: Map<string, LocalRelease>
  /** The release that receives requests. */
  serving: LocalRelease | null
  readonly log: AppLog
  readonly meter: Meter
}

/** The current state does not allow this; the caller may change that. */
export class Conflict extends Error {
  override readonly name = 'Conflict'
}

const SAMPLE_INTERVAL = 1_000
/** Milliseconds between checks of the sizes of apps' homes. */
const HOME_INTERVAL = 2_000
const MEGABYTE = 1_048_576

/** All apps of this machine. */
export class Fleet {
  readonly #layout: Layout
  /** Records the processes to end in case this process is killed. */
  readonly #record: (leaders: readonly ProcessIdentity[]) => void
  readonly #apps = new Map<string, App>()
  readonly #logs = new Map<string, AppLog>()
  readonly #slugs = new Map<string, App>()
  readonly #retiring = new Map<LocalRelease, Promise<void>>()
  readonly #sampler: NodeJS.Timeout
  #isClosed = false

  constructor(layout: Layout, record: (leaders: readonly ProcessIdentity[]) => void) {
    this.#layout = layout
    this.#record = record
    this.#sampler = setInterval(() => this.#safely(() => this.#sample()), SAMPLE_INTERVAL).unref()
    void this.#watchHomes()
  }

  get isEmpty(): boolean {
    return this.#releases().length === 0
  }

  /** Finds an app by the slug in its host name. */
  bySlug(slug: string): App | null {
    return this.#slugs.get(slug) ?? null
  }

  /** An app's log, past and future; the app need not exist yet. */
  logOf(appId: string): AppLog {
    const log = this.#logs.get(appId) ?? new AppLog()
    this.#logs.set(appId, log)
    return log
  }

  /** @throws StartFailure when the release does not become healthy; unless it is serving, it is removed completely */
  async start(request: StartRequest, signal: AbortSignal): Promise<void> {
    const app = this.#open(request.app)
    const release = await this.#begin(app, request)
    try {
      await release.healthy(signal)
    } catch (error) {
      // A caller that has stopped waiting may come back for it, or retire it.
      if (this.#isClosed) throw new Conflict('the runner is being stopped')
      if (!signal.aborted && app.serving !== release) await this.#end(app, release, 0)
      throw error
    }
  }

  /** Routes new requests to this release only. */
  serve({ app: { id, slug }, deploymentId }: ServeRequest): void {
    const app = this.#apps.get(id)
    const release = app?.releases.get(deploymentId)
    if (!app || !release?.route || this.#retiring.has(release)) throw new Conflict('this release is not running')
    if (this.#slugs.get(app.slug) === app) this.#slugs.delete(app.slug)
    app.slug = slug
    app.serving = release
    this.#slugs.set(slug, app)
  }

  async retire({ appId, keep, drain }: RetireRequest): Promise<void> {
    const app = this.#apps.get(appId)
    if (!app) return
    const others = [...app.releases.values()].filter(release => release.spec.deploymentId !== keep)
    await Promise.all(others.map(release => this.#end(app, release, drain)))
  }

  /** Removes an app and its files, including an app that never ran here. */
  async destroy(appId: string): Promise<void> {
    const directory = appDirectory(this.#layout, appId)
    await this.retire({ appId, keep: null, drain: 0 })
    const app = this.#apps.get(appId)
    this.#apps.delete(appId)
    this.#logs.delete(appId)
    if (app && this.#slugs.get(app.slug) === app) this.#slugs.delete(app.slug)
    const account = findAccount(this.#layout, appId)
    const mark = markOf(this.#layout)
    // The user is released only once nothing runs as it.
    if (account !== null) {
      await new OwnedProcesses({ account, mark }).end(0)
      await clearTraces(account)
    }
    await removeTree(directory, this.#layout.graveyard)
    if (account !== null) releaseAccount(this.#layout, appId, account)
  }

  running(): RunningReply {
    return [...this.#apps.values()].flatMap(app =>
      [...app.releases.values()].map(release => ({
        appId: app.id,
        deploymentId: release.spec.deploymentId,
        isServing: app.serving === release,
        isHealthy: release.isHealthy
      }))
    )
  }

  metrics(appId: string): MetricsReply {
    const app = this.#apps.get(appId)
    const releases = [...(app?.releases.values() ?? [])]
    const usedMb = sum(releases.map(({ usage }) => usage.memory))
    const totalMb = sum(releases.map(({ spec }) => spec.limits.memory))
    return {
      cpuPercent: sum(releases.map(({ cpuPercent }) => cpuPercent)),
      memory: { usedMb, totalMb, usedPercent: totalMb === 0 ? 0 : (100 * usedMb) / totalMb },
      ...(app?.meter ?? new Meter()).read(),
      instances: releases.map(({ spec, isHealthy, cpuPercent, usage, leader }) => ({
        id: leader === null ? spec.deploymentId : String(leader.pid),
        region: spec.region,
        state: leader === null ? 'stopped' : isHealthy ? 'started' : 'starting',
        cpuPercent,
        memoryMb: usage.memory
      }))
    }
  }

  /** Ends everything. @param grace milliseconds for processes to end; absent: as set when they were started */
  async close(grace?: number): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#sampler)
    await Promise.all(this.#releases().map(release => release.stop(grace)))
  }

  #open({ id, slug }: AppName): App {
    let app = this.#apps.get(id)
    if (!app) {
      app = { id, slug, releases: new Map(), serving: null, log: this.logOf(id), meter: new Meter() }
      this.#apps.set(id, app)
    }
    return app
  }

  async #begin(app: App, request: StartRequest): Promise<LocalRelease> {
    const spec = await this.#specify(request)
    for (;;) {
      if (this.#isClosed) throw new Conflict('the runner is being stopped')
      const existing = app.releases.get(request.deploymentId)
      if (existing === undefined) break
      const retiring = this.#retiring.get(existing)
      if (retiring === undefined) return existing
      await retiring
    }
    const release: LocalRelease = new LocalRelease(spec, {
      log: app.log,
      mark: markOf(this.#layout),
      siblings: () => [...app.releases.values()].filter(other => other !== release).map(({ processes }) => processes),
      isPortTaken: port => this.#releases().some(other => other.port === port),
      onProcess: () => this.#record(this.#releases().flatMap(({ leader }) => leader ?? []))
    })
    app.releases.set(request.deploymentId, release)
    return release
  }

  async #specify(request: StartRequest): Promise<ReleaseSpec> {
    refuseUnusable(request.env)
    const image = imagePath(this.#layout.dataDir, request.app.id, request.image)
    try {
      const { command } = await readManifest(image)
      const home = openHome(this.#layout, request.app.id)
      await closeImage(image, home.account)
      return { ...request, command, directory: `${image}/${APP_DIRECTORY}`, home }
    } catch (error) {
      if (hasCode(error, 'ENOENT')) throw new StartFailure('The image is no longer available: deploy the app again.')
      throw error
    }
  }

  /** Ends each release once, however often it is called. */
  #end(app: App, release: LocalRelease, drain: number): Promise<void> {
    const known = this.#retiring.get(release)
    if (known) return known
    if (app.serving === release) app.serving = null
    const ending = release.inFlight
      .drain(drain)
      .then(() => release.stop())
      .finally(() => {
        app.releases.delete(release.spec.deploymentId)
        this.#retiring.delete(release)
      })
    this.#retiring.set(release, ending)
    return ending
  }

  #releases(): LocalRelease[] {
    return [...this.#apps.values()].flatMap(app => [...app.releases.values()])
  }

  /** A failed measurement is no reason to end what runs. */
  #safely(work: () => void): void {
    try {
      work()
    } catch (error) {
      console.error(error)
    }
  }

  #sample(): void {
    const releases = this.#releases().filter(release => release.leader !== null)
    if (releases.length === 0) return
    const table = readProcessTable()
    for (const release of releases) {
      const members = release.processes.members(table)
      const { cpu, memory, shared } = usageOf(members)
      const pids = members.map(({ pid }) => pid)
      // Memory mapped from a file is already counted with the file.
      const inFiles = Math.max(memoryInFiles(pids, release.spec.home.account) - shared, 0)
      release.observe({ cpu, memory: (memory + inFiles) / MEGABYTE })
    }
  }

  /** Checks one app after the other, using at most a tenth of the time. */
  async #watchHomes(): Promise<void> {
    for (let pause = HOME_INTERVAL; !this.#isClosed; ) {
      await delay(pause, undefined, { ref: false })
      const began = performance.now()
      for (const app of this.#apps.values()) await this.#checkHome(app).catch(console.error)
      pause = Math.max(HOME_INTERVAL, 9 * (performance.now() - began))
    }
  }

  async #checkHome({ releases }: App): Promise<void> {
    const [first] = releases.values()
    const { disk, files } = first?.spec.limits ?? {}
    if (first === undefined || disk === undefined || files === undefined) return
    const size = await sizeOfTree(first.spec.home.directory, { bytes: disk * MEGABYTE, files })
    const used = size.files > files ? `more than ${files} files` : `more than ${disk} MB`
    if (size.files <= files && size.bytes <= disk * MEGABYTE) return
    for (const release of releases.values())
      release.endFor(`The app stores ${used} in its home directory, the maximum.`)
  }
}

function refuseUnusable(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    if (name === '' || /[=\0]/.test(name))
      throw new StartFailure(`${JSON.stringify(name)} is not a valid env var name.`)
    if (value.includes('\0'))
      throw new StartFailure(`The value of ${name} contains a NUL character, which env vars cannot have.`)
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
