import { createHmac, randomBytes, randomUUID } from 'node:crypto'
import type { FakeDelivery, World } from './world.ts'

/** The value of GitHub's `X-Hub-Signature-256`. */
export function sign(secret: string, body: string | Uint8Array): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}

/** The headers of a delivery. */
export function deliveryHeaders(secret: string, event: string, body: string, guid: string): Record<string, string> {
  return {
    'content-type': 'application/json',
    'user-agent': 'GitHub-Hookshot/0123456',
    'x-github-event': event,
    'x-github-delivery': guid,
    'x-github-hook-id': '1',
    'x-github-hook-installation-target-type': 'integration',
    'x-hub-signature-256': sign(secret, body)
  }
}

/** Sends an event to the App's webhook, once. */
export function deliver(world: World, event: string, payload: object, guid: string = randomUUID()) {
  return attempt(world, event, JSON.stringify(payload), guid)
}

/** One delivery attempt; its result is recorded. */
export async function attempt(world: World, event: string, payload: string, guid: string): Promise<FakeDelivery> {
  const delivery: FakeDelivery = {
    id: `1${BigInt(`0x${randomBytes(7).toString('hex')}`)
      .toString()
      .padStart(17, '0')}`,
    guid,
    event,
    payload,
    delivered_at: new Date().toISOString(),
    redelivery: world.deliveries.some(earlier => earlier.guid === guid),
    status_code: await post(world, event, payload, guid)
  }
  world.deliveries.unshift(delivery)
  return delivery
}

async function post({ hook }: World, event: string, body: string, guid: string): Promise<number> {
  if (hook === null) return 404
  const headers = deliveryHeaders(hook.secret, event, body, guid)
  try {
    const signal = AbortSignal.timeout(10_000)
    const response = await fetch(hook.url, { method: 'POST', headers, body, redirect: 'manual', signal })
    await response.body?.cancel()
    return response.status
  } catch {
    return 502
  }
}
