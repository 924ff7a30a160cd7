"""Which bank to offer a customer."""

# The bank with the highest observed approval rate among those this customer has not tried for
# this application. "Customers like this" share the trait `region`; where fewer than 20 of them
# have had a bank's decision, that bank is judged by everybody. An unseen bank is never offered.
# `bank_rates` is kept up to date by every event that tells of a decision.
BEST_UNTRIED_BANK = """
with stay as (
    select e.customer_id, e.key, left(coalesce(c.traits ->> 'region', ''), 200) as region
    from enrolments e join customers c on c.id = e.customer_id where e.id = $1
), decisions as (
    select r.bank, r.approved, r.approved + r.refused as decided, r.region = stay.region as alike
    from bank_rates r, stay
), rates as (
    select bank, case when sum(decided) filter (where alike) >= 20
                      then sum(approved) filter (where alike) / sum(decided) filter (where alike)
                      else sum(approved) / sum(decided) end as approval_rate
    from decisions group by bank
)
select bank, round(approval_rate * 100)::int as approval_percent
from rates
where approval_rate > 0 and bank not in (
    select left(v.properties ->> 'bank', 200) from stay join events v on v.customer_id = stay.customer_id
    where v.name in ('credit_application_submitted', 'credit_application_refused')
      and v.properties ->> 'application_id' = stay.key and v.properties ->> 'bank' is not null
)
order by approval_rate desc, bank limit 1
"""
