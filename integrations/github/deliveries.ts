import { Type } from '@sinclair/typebox'
import type { Api } from './api.ts'
import type { Delivery } from './port.ts'

const ListAnswer = Type.Array(
  Type.Object({
    id: Type.String({ pattern: '^[0-9]+$' }),
    guid: Type.String({ minLength: 1 }),
    delivered_at: Type.String(),
    status_code: Type.Integer()
  })
)

/** Pages of a hundred attempts each. */
const MOST_PAGES = 30

/** GitHub's attempts to deliver to the App's webhook. */
export function deliveriesOf({ asApp }: Api) {
  return {
    async deliveries(since: Date, signal?: AbortSignal): Promise<Delivery[]> {
      const found: Delivery[] = []
      let cursor: string | undefined
      for (let page = 0; page < MOST_PAGES; page++) {
        const { headers, body } = await asApp({
          operation: 'list_deliveries',
          path: `/app/hook/deliveries?per_page=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`,
          schema: ListAnswer,
          parse: exactIds,
          signal
        })
        const deliveries = body.map(toDelivery)
        found.push(...deliveries.filter(({ deliveredAt }) => deliveredAt >= since))
        cursor = nextCursor(headers)
        if (cursor === undefined || deliveries.some(({ deliveredAt }) => deliveredAt < since)) break
      }
      return found
    },

    async redeliver(id: string, signal?: AbortSignal): Promise<boolean> {
      const answer = await asApp({
        operation: 'redeliver',
        method: 'POST',
        path: `/app/hook/deliveries/${encodeURIComponent(id)}/attempts`,
        accept: [404, 422],
        signal
      })
      return answer.ok
    }
  }
}

interface DeliveryAnswer {
  id: string
  guid: string
  delivered_at: string
  status_code: number
}

function toDelivery({ id, guid, delivered_at: at, status_code: status }: DeliveryAnswer): Delivery {
  return { id, guid, deliveredAt: new Date(at), succeeded: status >= 200 && status < 300 }
}

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown

/** Quotes the ids in JSON: as numbers they would lose their last digits. */
function exactIds(text: string): unknown {
  const reviver: Reviver = (key, value, { source }) => (key === 'id' && typeof value === 'number' ? source : value)
  return JSON.parse(text, reviver as Parameters<typeof JSON.parse>[1])
}

/** The cursor of the next page, from `Link: <https://…?cursor=…>; rel="next"`. */
function nextCursor(headers: Headers): string | undefined {
  const [, target] = /<([^>]+)>;\s*rel="next"/.exec(headers.get('link') ?? '') ?? []
  return (target && URL.parse(target)?.searchParams.get('cursor')) || undefined
}
