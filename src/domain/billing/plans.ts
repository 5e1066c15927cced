import type { Plan } from '../../../drizzle/schema.ts'

/** The member limit of each plan; open invitations count too. */
export const MEMBER_LIMITS: Readonly<Record<Plan, number>> = { free: 1, starter: 5, pro: Number.POSITIVE_INFINITY }
