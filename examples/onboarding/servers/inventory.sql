-- The company's laptops; assigned_to is the employee who has one, or null.
CREATE TABLE IF NOT EXISTS laptops (
    serial      text PRIMARY KEY,
    model       text NOT NULL,
    assigned_to text UNIQUE
);

INSERT INTO laptops (serial, model, assigned_to) VALUES
    ('LT-1001', 'developer-14', 'E0007'),
    ('LT-1002', 'developer-14', NULL),
    ('LT-1003', 'developer-14', NULL),
    ('LT-2001', 'business-13', 'E0011'),
    ('LT-2002', 'business-13', NULL),
    ('LT-2003', 'business-13', NULL)
ON CONFLICT (serial) DO NOTHING;
