import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { EventSource } from '../../plugins/event-streams/index.ts'
import { APP_LOG_CHANNEL, type AppLogLine, newestAppLog, readAppLogs } from '../../src/domain/apps/logs.ts'
import { ChangeFeed, SharedReads } from '../../src/domain/base/change-feed.ts'
import { plainText } from '../../src/domain/base/log-text.ts'
import {
  BUILD_LOG_CHANNEL,
  type BuildLogChunk,
  findProgress,
  type Progress,
  readBuildLog
} from '../../src/domain/deployments/build-logs.ts'

/** Milliseconds after which a reader polls, because notifications may be lost. */
const POLL = 5_000
/** The same while waiting for the last output. */
const SETTLING_POLL = 250
const BUILD_BATCH = 50
/** Half of a reader's buffer: a reader that keeps up takes one batch before the next one arrives. */
const LINE_BATCH = 50

/** A deployment that was deleted with its app was cancelled first. */
const GONE: Progress = { status: 'cancelled', state: 'over' }

const itself = (payload: string) => payload
const idOf = (payload: string) => (JSON.parse(payload) as { id: string }).id

/** The logs of deployments and apps as event sources that follow the database, starting at any line. */
export function logStreams(app: FastifyInstance) {
  const { db, postgres } = app
  const deploymentChanges = new ChangeFeed(postgres.listen, { [BUILD_LOG_CHANNEL]: itself, rhone_deployments: idOf })
  const appChanges = new ChangeFeed(postgres.listen, { [APP_LOG_CHANNEL]: itself })
  const chunkReads = new SharedReads<BuildLogChunk[]>()
  const lineReads = new SharedReads<AppLogLine[]>()

  const readChunks = (id: string, after: number) =>
    chunkReads.read(`${id} ${after}`, () => readBuildLog(db, id, after, BUILD_BATCH))
  const readLines = (appId: string, after: number) =>
    lineReads.read(`${appId} ${after}`, () => readAppLogs(db, appId, after, LINE_BATCH))

  /** The log of a deployment to its end. It waits for its readers, which must not miss anything. */
  function ofDeployment(appId: string, id: string, after: number): EventSource {
    return async (sink, signal) => {
      const wake = deploymentChanges.subscribe(id, signal)
      let sent: string | undefined
      while (!signal.aborted) {
        // Read the status first: when it is final, all earlier output is already stored.
        const { status, state } = (await findProgress(db, appId, id)) ?? GONE
        if (status !== sent) await sink.send({ event: 'status', data: { status } })
        sent = status
        for (let chunks: BuildLogChunk[] | undefined; chunks?.length !== 0 && !signal.aborted; ) {
          chunks = await readChunks(id, after)
          for (const chunk of chunks) await sink.send({ id: chunk.seq, event: 'log', data: chunk })
          after = chunks.at(-1)?.seq ?? after
        }
        if (state === 'over') return sink.send({ event: 'complete', data: { status } })
        await wake.wait(state === 'active' ? POLL : SETTLING_POLL, signal)
      }
    }
  }

  /**
   * The log of an app from now on, or from a given line. Waits for the reader up to the present; after that the reader
   * has to keep up. Messages are plain text unless the reader can show colours.
   */
  function ofApp(appId: string, from: number | undefined, hasColours: boolean): EventSource {
    return async (sink, signal) => {
      const wake = appChanges.subscribe(appId, signal)
      let after = from ?? (await newestAppLog(db, appId))
      let isPresent = false
      await sink.send({ id: after, event: 'connected', data: { appId } })
      while (!signal.aborted) {
        const lines = await readLines(appId, after)
        for (const line of lines) {
          const event = { id: line.id, event: 'log', data: shown(line, hasColours) }
          if (isPresent) sink.offer(event)
          else await sink.send(event)
        }
        after = lines.at(-1)?.id ?? after
        if (lines.length === LINE_BATCH) await turn()
        else {
          isPresent = true
          await wake.wait(POLL, signal)
        }
      }
    }
  }

  return { ofDeployment, ofApp }
}

function shown(
  { id, at, level, source, region, instance, message: said, deploymentId }: AppLogLine,
  hasColours: boolean
) {
  const message = hasColours ? said : plainText(said)
  return { id, timestamp: at, level, message, source, region, instance, deploymentId }
}
