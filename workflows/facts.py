"""Facts that journeys of several packs give their texts."""

WORDS = """
select l.text from conversation_lines l join messages m on m.id = l.answers
where m.enrolment_id = $1 and l.choice is null order by l.id desc limit 1
"""
"""What a customer wrote last in the place of a choice, for whoever calls them."""
