import type { Plan } from '../../drizzle/schema.ts'
import { credential, oneOf, optional, section } from './section.ts'

/** Plans, and how much teams may use. */
export interface BillingSettings {
  /** The plan of a new team. */
  readonly defaultPlan: Plan
}

const variables = {
  STRIPE_SECRET_KEY: credential('The secret key of Stripe. With it, plans are paid, and new teams start on free.', {
    days: 180
  }),
  DEFAULT_PLAN: optional(
    oneOf(['free', 'starter', 'pro'], {
      description: 'The plan of a new team, which limits its number of members; free with Stripe, else pro.'
    })
  )
}

export default section(
  variables,
  ({ env }): BillingSettings => ({
    defaultPlan: env.DEFAULT_PLAN ?? (env.STRIPE_SECRET_KEY === undefined ? 'pro' : 'free')
  })
)
