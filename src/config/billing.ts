import type { Plan } from '../../drizzle/schema.ts'
import { oneOf, section } from './section.ts'

/** Plans and what teams may use. */
export interface BillingSettings {
  /** The plan of a new team. */
  readonly defaultPlan: Plan
}

const variables = {
  DEFAULT_PLAN: oneOf(['free', 'starter', 'pro'], {
    default: 'pro',
    description: 'The plan of a new team: free, starter or pro. It limits how many people may join.'
  })
}

export default section(variables, ({ env }): BillingSettings => ({ defaultPlan: env.DEFAULT_PLAN }))
