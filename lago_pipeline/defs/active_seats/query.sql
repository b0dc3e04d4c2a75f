-- Seats that were taken or given back; the window of the partition is put around this query.
select seat_event_id, seen_at, subscription_id, seat, operation, team
from active_seats
where operation in ('add', 'remove');
