-- Makes: a grant of one role to another, which then has all of its privileges.
GRANT ROLE ${role} TO ROLE ${parent}
